// SPDX-License-Identifier: Apache-2.0
/*
 * The last hidden states of an original on the windows of one set, kept from one job to the next in
 * the folder of pipeline_job.states. A file's name is the hash of its key, which holds all that the
 * bytes follow from: the model's fingerprint, the windows, the device's model, its library, the
 * version, and how many windows went through at once. So they are the bytes that the original's
 * pass would give again.
 *
 * The file: the states of each window, [n, seqlen, d] act, then JSON {key, sha256: [of each
 * window]} to its end. Each window is checked before it is used. What cannot be read, or written,
 * is computed: it never fails a job.
 *
 * The thread of the run; threads of its own hash, read and write.
 */
#pragma once

#include "base/cache/cache.h"
#include "base/task.h"
#include "daemon/pipeline/run.h"

#define STATES_THREADS_MAX 8

struct states;

/* A share of some windows, for one thread. */
struct states_share {
    struct states *states;
    struct task task;
    int first, count, begin, step; /* windows first + begin, + step ... < first + count */
    unsigned char *at;             /* states of window `first` */
};

/* Zero-initialise; states_done() after each set. */
struct states {
    const struct cache *cache; /* borrowed */
    struct run *run;
    const struct windows *windows;    /* borrowed */
    int chunk, batch;                 /* windows */
    size_t window;                    /* bytes of one */
    bool reads, writes;               /* at most one of them; neither: there is no file */
    char name[CACHE_NAME_SIZE];       /* of the file that is read */
    int fd;                           /* of the file that is read; owned */
    struct cache_file file;           /* that is written */
    char (*hashes)[SHA256_TEXT_SIZE]; /* [n]; owned */
    unsigned char *buffer;            /* [batch] windows, between file and device; borrowed */
    struct states_share shares[STATES_THREADS_MAX];
};

/*
 * states_begin() - for a set of @windows that go through the original in chunks of @chunk. Finds
 * the file, or begins one. @buffer: states_buffer_size() bytes; sets may share one when only one of
 * them is read or written until states_wait(). Return: 0 or -errno.
 */
int states_begin(struct states *states, struct run *run, const struct windows *windows, int chunk,
                 unsigned char *buffer);

/* states_buffer_size() - 0 when nothing is kept. */
size_t states_buffer_size(const struct run *run);

/*
 * states_read() - windows @first .. @first + @count - 1, of one chunk, to @kept on the device, or,
 * when that is empty, to @host. Return: 0; -ENOENT: they are to be computed; or -errno.
 */
int states_read(struct states *states, int first, int count, struct span kept, unsigned char *host);

/*
 * states_write() - windows @first and up, at most a batch, from @kept or @host likewise, which stay
 * as they are until states_wait(). Return: 0 or -errno.
 */
int states_write(struct states *states, int first, int count, struct span kept,
                 unsigned char *host);

/* states_wait() - what states_write() was given is no longer read. */
void states_wait(struct states *states);

/* states_end() - every window of the set was written: the file appears. Return: 0 or -errno. */
int states_end(struct states *states);
void states_done(struct states *states); /* a zeroed one is fine */
