// SPDX-License-Identifier: Apache-2.0
/*
 * How long a GET of a job takes while 500 clients hold streams and events come in, and how long
 * an event takes to a client. Prints percentiles in milliseconds.
 */
#include "base/clock.h"
#include "base/macros.h"
#include "visit.h"

#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define N_STREAMS 500
#define N_JOBS 10
#define N_GETS 2000
#define N_EVENTS 200

static int compare(const void *a, const void *b) {
    double x = *(const double *)a, y = *(const double *)b;

    return (x > y) - (x < y);
}

static void print(const char *what, double *seconds, int n) {
    qsort(seconds, (size_t)n, sizeof(*seconds), compare);
    printf("%-28s p50 %.3f  p99 %.3f  max %.3f ms\n", what, seconds[n / 2] * 1e3,
           seconds[n * 99 / 100] * 1e3, seconds[n - 1] * 1e3);
}

static double cpu_seconds(void) {
    struct timespec t;

    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
    return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

/* Reads all that is there, so that no buffer fills up. */
static void *drain(void *arg) {
    struct pollfd *pollfds = arg;
    char buffer[65536];

    while (poll(pollfds, N_STREAMS, -1) > 0)
        for (int i = 0; i < N_STREAMS; i++)
            if (pollfds[i].revents && recv(pollfds[i].fd, buffer, sizeof(buffer), 0) <= 0)
                return NULL;
    return NULL;
}

struct producer {
    struct fake *fake;
    atomic_bool stop;
};

static void *produce(void *arg) {
    struct producer *producer = arg;

    for (int i = 0; !producer->stop; i++) {
        fake_event(producer->fake, 1 + i % N_JOBS, "layer.finished", "a layer");
        fake_progress(producer->fake, 1 + i % N_JOBS, i);
        usleep(20000);
    }
    return NULL;
}

static void time_gets(struct site *site, const char *what) {
    static const char request[] = "GET /v1/jobs/1 HTTP/1.1\r\nHost: localhost\r\n\r\n";
    static double seconds[N_GETS];
    int fd = site_connect(site, "");
    char buffer[4096];

    for (int i = 0; i < N_GETS; i++) {
        double begin = clock_monotonic();

        if (send(fd, request, sizeof(request) - 1, MSG_NOSIGNAL) < 0 ||
            recv(fd, buffer, sizeof(buffer), 0) <= 0)
            abort();
        seconds[i] = clock_monotonic() - begin;
        usleep(500);
    }
    close(fd);
    print(what, seconds, N_GETS);
}

static void time_events(struct site *site) {
    static double seconds[N_EVENTS];
    int64_t job = fake_job(site->fake);
    char request[256], buffer[65536];
    int fd;

    snprintf(
        request, sizeof(request),
        "GET /v1/jobs/%d/events HTTP/1.1\r\nHost: localhost\r\nAccept: text/event-stream\r\n\r\n",
        (int)job);
    fd = site_connect(site, request);
    usleep(200000);
    while (recv(fd, buffer, sizeof(buffer), MSG_DONTWAIT) > 0)
        ;
    for (int i = 0; i < N_EVENTS; i++) {
        double begin = clock_monotonic();

        fake_event(site->fake, job, "layer.finished", "x");
        if (recv(fd, buffer, sizeof(buffer), 0) <= 0)
            abort();
        seconds[i] = clock_monotonic() - begin;
        usleep(20000);
    }
    close(fd);
    print("event to its client", seconds, N_EVENTS);
}

int main(void) {
    static struct pollfd pollfds[N_STREAMS];
    struct rlimit limit = {4096, 4096};
    struct producer producer = {};
    pthread_t reader, writer;
    struct site *site;
    double cpu;

    if (setrlimit(RLIMIT_NOFILE, &limit)) {
        printf("needs 4096 open files\n");
        return 77;
    }
    site = site_open();
    producer.fake = site->fake;
    for (int i = 0; i < N_JOBS; i++)
        fake_job(site->fake);
    time_gets(site, "GET alone");
    for (int i = 0; i < N_STREAMS; i++) {
        char request[256];

        snprintf(request, sizeof(request),
                 "GET /v1/jobs/%d/events HTTP/1.1\r\nHost: localhost\r\n"
                 "Accept: text/event-stream\r\n\r\n",
                 1 + i % N_JOBS);
        pollfds[i] = (struct pollfd){.fd = site_connect(site, request), .events = POLLIN};
    }
    pthread_create(&reader, NULL, drain, pollfds);
    usleep(500000);
    cpu = cpu_seconds();
    usleep(5000000);
    printf("%-28s %.4f s of CPU in 5 s\n", "500 idle streams", cpu_seconds() - cpu);
    pthread_create(&writer, NULL, produce, &producer);
    cpu = cpu_seconds();
    time_gets(site, "GET, 500 streams, 100 wakes/s");
    printf("%-28s %.3f s of CPU, clients and all\n", "", cpu_seconds() - cpu);
    producer.stop = true;
    pthread_join(writer, NULL);
    time_events(site);
    site_close(site);
    pthread_join(reader, NULL);
    for (int i = 0; i < N_STREAMS; i++)
        close(pollfds[i].fd);
    return 0;
}
