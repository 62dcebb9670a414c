// SPDX-License-Identifier: Apache-2.0
#include "daemon/executor/slurm/answer.h"

#include "base/cleanup.h"
#include "base/macros.h"
#include "base/str.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define ID_MAX ((uint64_t)1 << 53)

static const struct {
    const char *name;
    enum slurm_phase phase;
} phases[] = {
    {"PENDING", SLURM_WAITING},      {"CONFIGURING", SLURM_WAITING},
    {"REQUEUED", SLURM_WAITING},     {"REQUEUE_HOLD", SLURM_WAITING},
    {"REQUEUE_FED", SLURM_WAITING},  {"RESV_DEL_HOLD", SLURM_WAITING},
    {"SPECIAL_EXIT", SLURM_WAITING}, {"POWER_UP_NODE", SLURM_WAITING},
    {"SUSPENDED", SLURM_SUSPENDED},  {"STOPPED", SLURM_SUSPENDED},
    {"COMPLETED", SLURM_OVER},       {"FAILED", SLURM_OVER},
    {"CANCELLED", SLURM_OVER},       {"TIMEOUT", SLURM_OVER},
    {"DEADLINE", SLURM_OVER},        {"PREEMPTED", SLURM_OVER},
    {"NODE_FAIL", SLURM_OVER},       {"BOOT_FAIL", SLURM_OVER},
    {"OUT_OF_MEMORY", SLURM_OVER},   {"LAUNCH_FAILED", SLURM_OVER},
    {"RECONFIG_FAIL", SLURM_OVER},   {"REVOKED", SLURM_OVER},
    {"EXPEDITING", SLURM_WAITING},
};

enum slurm_phase slurm_phase(const char *state) {
    for (size_t i = 0; i < ARRAY_SIZE(phases); i++) {
        if (str_equal(state, phases[i].name))
            return phases[i].phase;
    }
    return SLURM_RUNNING;
}

bool slurm_is_hopeless(const struct slurm_job *job) {
    static const struct {
        const char *part;
        bool of_partition; /* in another one the job may start */
    } reasons[] = {
        {"BadConstraints", false},
        {"InvalidAccount", false},
        {"InvalidQOS", false},
        {"launch failed", false},
        {"DependencyNeverSat", false},
        {"PartitionConfig", true},
        {"PartitionNodeLimit", true},
        {"PartitionTimeLimit", true},
        {"AccountNotAllowed", true},
        {"QOSNotAllowed", true},
        {"PerJob", true},
        {"MaxMemPerLimit", true},
    };

    for (size_t i = 0; i < ARRAY_SIZE(reasons); i++) {
        if (strstr(job->reason, reasons[i].part))
            return !(reasons[i].of_partition && job->several);
    }
    return false;
}

/* "2026-11-28T14:02:11", in the time of this machine; 0: it is something else, as "N/A". */
static int64_t parse_time(const char *text) {
    struct tm tm = {.tm_isdst = -1};
    const char *end = strptime(text, "%Y-%m-%dT%H:%M:%S", &tm);
    time_t at = end && !*end ? mktime(&tm) : 0;

    return at > 0 ? (int64_t)at * 1000 : 0;
}

/* Copies the column at *at into @column and moves on; false when it does not end or fit. */
static bool next_column(const char **at, const char *end, char *column, size_t size) {
    const char *bar = memchr(*at, '|', (size_t)(end - *at));

    if (!bar || (size_t)(bar - *at) >= size)
        return false;
    memcpy(column, *at, (size_t)(bar - *at));
    column[bar - *at] = '\0';
    str_make_printable(column);
    *at = bar + 1;
    return true;
}

int slurm_parse_job(const char *line, size_t size, struct slurm_job *ret_job) {
    const char *at = line, *end = line + size;
    struct slurm_job job = {};
    char id[32], start[32], partitions[1024];
    uint64_t number;

    if (!next_column(&at, end, id, sizeof(id)) || str_parse_u64(id, ID_MAX, &number) || !number ||
        !next_column(&at, end, job.state, sizeof(job.state)) || !job.state[0] ||
        !next_column(&at, end, job.node, sizeof(job.node)) ||
        !next_column(&at, end, start, sizeof(start)) ||
        !next_column(&at, end, partitions, sizeof(partitions)) ||
        !next_column(&at, end, job.name, sizeof(job.name)) || !job.name[0])
        return -EINVAL;
    job.id = (int64_t)number;
    job.starts_at = parse_time(start);
    job.several = strchr(partitions, ',') != NULL;
    snprintf(job.reason, sizeof(job.reason), "%.*s", (int)MIN((size_t)(end - at), 159), at);
    str_make_printable(job.reason);
    *ret_job = job;
    return 0;
}

/* Jobs of others may have any name and id: such a line is one of squeue all the same. */
static bool looks_like_job(const char *line, size_t size) {
    int n = 0;

    for (size_t i = 0; i < size; i++)
        n += line[i] == '|';
    return size > 0 && line[0] >= '0' && line[0] <= '9' && n >= 6;
}

int slurm_parse_jobs(const char *text, size_t size,
                     void (*each)(void *ctx, const struct slurm_job *job), void *ctx) {
    const char *end = text + size;
    int n_jobs = 0, n_others = 0;

    /* A list that breaks off says nothing about the jobs that are missing. */
    if (size && text[size - 1] != '\n')
        return -EBADMSG;
    for (const char *line = text, *next; line < end; line = next + 1) {
        next = memchr(line, '\n', (size_t)(end - line));
        if (looks_like_job(line, (size_t)(next - line)))
            n_jobs++;
        else
            n_others += next > line;
    }
    if (n_others && !n_jobs)
        return -EBADMSG;
    for (const char *line = text, *next; line < end; line = next + 1) {
        struct slurm_job job;

        next = memchr(line, '\n', (size_t)(end - line));
        if (!slurm_parse_job(line, (size_t)(next - line), &job))
            each(ctx, &job);
    }
    return 0;
}

/* A state may have a sign behind it, as down* or idle~. */
static bool is_usable(const char *state) {
    static const char *const states[] = {"idle", "mixed", "allocated", "completing", "planned"};
    size_t length = strcspn(state, "*~#!%$@^-+");

    for (size_t i = 0; i < ARRAY_SIZE(states); i++) {
        if (strlen(states[i]) == length && !memcmp(state, states[i], length))
            return state[length] != '*';
    }
    return false;
}

/* The nodes of a partition. */
struct nodes {
    char partition[64]; /* "": it is not there */
    bool up;
    int n, n_usable;
};

/* A line of sinfo, when it is one of the partition @name; NULL: of the default one. */
static void add_nodes(const char *line, size_t size, const char *name, struct nodes *nodes) {
    char partition[64], up[16], count[16], state[64];
    const char *at = line, *end = line + size;
    uint64_t n;
    size_t star;
    bool is_default;

    if (!next_column(&at, end, partition, sizeof(partition)) ||
        !next_column(&at, end, up, sizeof(up)) || !next_column(&at, end, count, sizeof(count)) ||
        str_parse_u64(count, 1000000, &n))
        return;
    snprintf(state, sizeof(state), "%.*s", (int)MIN(end - at, 63), at);
    star = strcspn(partition, "*");
    is_default = partition[star] != '\0';
    partition[star] = '\0';
    if (name ? !str_equal(partition, name) : !is_default)
        return;
    memcpy(nodes->partition, partition, sizeof(partition));
    nodes->up = str_equal(up, "up");
    nodes->n += (int)n;
    nodes->n_usable += is_usable(state) ? (int)n : 0;
}

/* Adds to @detail; a partition that is not there leaves nothing else in it. */
static enum slurm_partitions judge_one(const char *text, const char *name, char *detail,
                                       size_t size) {
    size_t used = strlen(detail);
    struct nodes nodes = {};

    for (const char *line = text; *line;) {
        size_t length = strcspn(line, "\n");

        add_nodes(line, length, name, &nodes);
        line += length + (line[length] == '\n');
    }
    if (!nodes.partition[0]) {
        if (name)
            snprintf(detail, size, "'%s' is not there", name);
        else
            snprintf(detail, size, "there is no default one");
        return SLURM_ABSENT;
    }
    snprintf(detail + used, size - used, "%s'%s' is %s, with %d of %d nodes usable",
             used ? "; " : "", nodes.partition, nodes.up ? "up" : "not up", nodes.n_usable,
             nodes.n);
    return nodes.up && nodes.n_usable ? SLURM_USABLE : SLURM_UNUSABLE;
}

enum slurm_partitions slurm_judge_partitions(const char *text, const char *names, char *detail,
                                             size_t size) {
    cleanup(freep) char *copy = names ? strdup(names) : NULL;
    enum slurm_partitions verdict = SLURM_UNUSABLE, one = SLURM_UNUSABLE;
    char *rest = NULL;

    detail[0] = '\0';
    if (!names)
        return judge_one(text, NULL, detail, size);
    for (char *name = copy ? strtok_r(copy, ",", &rest) : NULL; name && one != SLURM_ABSENT;
         name = strtok_r(NULL, ",", &rest)) {
        one = judge_one(text, name, detail, size);
        verdict = one == SLURM_UNUSABLE ? verdict : one;
    }
    if (!detail[0])
        snprintf(detail, size, "'%s' names none", names);
    return verdict;
}

int64_t slurm_parse_submitted(const char *text) {
    uint64_t id = 0, found;

    for (const char *line = text; line && *line;) {
        size_t size = strcspn(line, "\n"), digits = strspn(line, "0123456789");
        char number[24];

        if (digits > 0 && digits < sizeof(number) && (digits == size || line[digits] == ';')) {
            memcpy(number, line, digits);
            number[digits] = '\0';
            if (!str_parse_u64(number, ID_MAX, &found))
                id = found;
        }
        line += size + (line[size] == '\n');
    }
    return (int64_t)id;
}

bool slurm_is_unsure(const char *text) {
    static const char *const parts[] = {"timed out", "contact", "ommunication", "onnection",
                                        "Unexpected"};

    for (size_t i = 0; i < ARRAY_SIZE(parts); i++) {
        if (strstr(text, parts[i]))
            return true;
    }
    return !text[0];
}

void slurm_last_line(const char *text, char *line, size_t size) {
    const char *last = "";
    size_t length = 0;

    while (text && *text) {
        size_t n = strcspn(text, "\n");

        if (n > 0) {
            last = text;
            length = n;
        }
        text += n + (text[n] == '\n');
    }
    snprintf(line, size, "%.*s", (int)MIN(length, size - 1), last);
    str_make_printable(line);
}
