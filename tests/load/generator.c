// SPDX-License-Identifier: Apache-2.0
/*
 * usage: generator ADDRESS --job ID --ended ID [--streams N] [--silent N] [--pollers N]
 *                  [--interval SECONDS] [--seconds SECONDS] [--end-after SECONDS] [--token TOKEN]
 *
 * Opens streams of ADDRESS (unix:PATH or HOST:PORT), half of them of all jobs, half of job ID and
 * then of those that come after it; waits until they are answered; polls; prints a JSON object of
 * the latencies; waits until the server has ended the streams; prints one of what they got.
 */
#include "load.h"

#include "base/clock.h"

#include <inttypes.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <time.h>

#define OPEN_SECONDS 60

static int usage(void) {
    fprintf(stderr,
            "usage: generator ADDRESS --job ID --ended ID [--streams N] [--silent N]\n"
            "  [--pollers N] [--interval SECONDS] [--seconds SECONDS] [--end-after SECONDS]\n"
            "  [--token TOKEN]\n");
    return 2;
}

static bool read_options(int argc, char **argv, struct load *load) {
    const struct {
        const char *name;
        int *n;
        double *seconds;
    } options[] = {
        {"--streams", &load->n_streams, NULL}, {"--silent", &load->n_silent, NULL},
        {"--pollers", &load->n_pollers, NULL}, {"--interval", NULL, &load->interval},
        {"--seconds", NULL, &load->seconds},   {"--end-after", NULL, &load->end_after},
    };

    if (argc < 2 || argc % 2)
        return false;
    load->address = argv[1];
    for (int k = 2; k + 1 < argc; k += 2) {
        size_t i = 0;

        while (i < ARRAY_SIZE(options) && strcmp(options[i].name, argv[k]) != 0)
            i++;
        if (i < ARRAY_SIZE(options) && options[i].n)
            *options[i].n = atoi(argv[k + 1]);
        else if (i < ARRAY_SIZE(options))
            *options[i].seconds = atof(argv[k + 1]);
        else if (strcmp(argv[k], "--token") == 0)
            load->token = argv[k + 1];
        else if (strcmp(argv[k], "--job") == 0)
            atomic_store(&load->job, atol(argv[k + 1]));
        else if (strcmp(argv[k], "--ended") == 0)
            load->ended = atol(argv[k + 1]);
        else
            return false;
    }
    return load->n_streams >= load->n_silent && load->n_streams <= LOAD_STREAMS_MAX &&
           load->n_silent >= 0 && load->n_pollers > 0 && load->interval > 0 &&
           atomic_load(&load->job) > 0 && load->ended > 0;
}

static int compare(const void *a, const void *b) {
    double x = *(const double *)a, y = *(const double *)b;

    return (x > y) - (x < y);
}

static void print_latencies(const char *name, struct latencies *l) {
    static const double points[] = {0.5, 0.9, 0.99, 0.999};

    qsort(l->at, l->n, sizeof(*l->at), compare);
    printf("\"%s\": {\"n\": %zu", name, l->n);
    for (size_t i = 0; l->n && i < ARRAY_SIZE(points); i++)
        printf(", \"p%g\": %.3f", points[i] * 100, l->at[(size_t)((double)l->n * points[i])] * 1e3);
    if (l->n)
        printf(", \"max\": %.3f", l->at[l->n - 1] * 1e3);
    printf("}");
}

static void print_pollers(struct pollers_report *report) {
    struct latencies all = {};

    all.n = report->fresh.n + report->same.n;
    all.at = calloc(all.n + 1, sizeof(*all.at));
    if (!all.at)
        abort();
    if (report->fresh.n)
        memcpy(all.at, report->fresh.at, report->fresh.n * sizeof(*all.at));
    if (report->same.n)
        memcpy(all.at + report->fresh.n, report->same.at, report->same.n * sizeof(*all.at));
    printf("{\"errors\": %ld, ", report->n_errors);
    print_latencies("get", &all);
    printf(", ");
    print_latencies("200", &report->fresh);
    printf(", ");
    print_latencies("304", &report->same);
    printf("}\n");
    fflush(stdout);
    free(all.at);
    free(report->fresh.at);
    free(report->same.at);
}

static void print_streams(const struct streams_report *report) {
    printf(
        "{\"connects\": %ld, \"refused\": %ld, \"broken\": %ld, \"events\": %ld, "
        "\"progress\": %ld, \"lost\": %ld, \"dropped\": %ld, \"at_stop\": %ld, \"clean_end\": %ld, "
        "\"unended\": %ld, \"jobs\": [",
        report->n_connects, report->n_refused, report->n_broken, report->n_events,
        report->n_progress, report->n_lost, report->n_dropped, report->n_at_stop,
        report->n_clean_end, report->n_unended);
    for (int i = 0; i < report->n_jobs; i++)
        printf("%s{\"id\": %ld, \"readers\": %ld, \"events\": %ld, \"sum\": %" PRIu64 "}",
               i ? ", " : "", report->jobs[i].id, report->jobs[i].n_readers,
               report->jobs[i].n_events, report->jobs[i].sum);
    printf("]}\n");
}

static void *run_streams(void *arg) {
    struct load *load = arg;
    struct streams_report *report = calloc(1, sizeof(*report));

    if (!report || streams_run(load, report))
        abort();
    return report;
}

/* Return: are all readers answered? */
static bool wait_for_streams(struct load *load) {
    double end = clock_monotonic() + OPEN_SECONDS;

    while (atomic_load(&load->n_open) < load->n_streams - load->n_silent) {
        if (clock_monotonic() > end)
            return false;
        nanosleep(&(struct timespec){.tv_nsec = 10 * 1000 * 1000}, NULL);
    }
    return true;
}

int main(int argc, char **argv) {
    struct load load = {.n_streams = 500,
                        .n_silent = 50,
                        .n_pollers = 50,
                        .interval = 0.5,
                        .seconds = 10,
                        .end_after = 900};
    struct pollers_report pollers = {};
    struct streams_report *streams;
    struct rlimit limit;
    pthread_t thread;

    if (!read_options(argc, argv, &load))
        return usage();
    if (getrlimit(RLIMIT_NOFILE, &limit) == 0) {
        limit.rlim_cur = limit.rlim_max;
        setrlimit(RLIMIT_NOFILE, &limit);
    }
    if (pthread_create(&thread, NULL, run_streams, &load))
        return 1;
    if (!wait_for_streams(&load)) {
        fprintf(stderr, "generator: only %d streams were answered\n", atomic_load(&load.n_open));
        return 1;
    }
    if (pollers_run(&load, &pollers)) {
        fprintf(stderr, "generator: the pollers cannot run\n");
        return 1;
    }
    print_pollers(&pollers);
    atomic_store(&load.stopping, true);
    pthread_join(thread, (void **)&streams);
    print_streams(streams);
    free(streams);
    return 0;
}
