// SPDX-License-Identifier: Apache-2.0
/* A checkpoint folder in the making. Private to the pipeline; the thread of the backend. */
#pragma once

#include "daemon/pipeline/export/shard_file.h"
#include "daemon/pipeline/run.h"

#define FOLDER_SHARDS_MAX 4

/* Zero-initialise. */
struct folder {
    const struct format_ops *format;
    char *path;                  /* owned */
    json_t *files;               /* [{name, bytes, sha256}], in the order of writing; owned */
    json_t *weight_map;          /* tensor: shard; owned */
    struct container *container; /* where the format's tensors go; NULL: shards; owned */
    uint64_t tensor_bytes;
    uint64_t shard_bytes;
    /* Those on their way to the disk, oldest first: shards[(first + i) % FOLDER_SHARDS_MAX]. */
    struct shard_file shards[FOLDER_SHARDS_MAX];
    int first, n_shards;
};

/* folder_begin() - an empty folder @name of work/, for a checkpoint in @format. Return: 0 or
 * -errno. */
int folder_begin(struct run *run, struct folder *folder, const struct format_ops *format,
                 const char *name);
/*
 * folder_end() - with @r, what became of it. What a full disk cut short is removed: it takes the
 * room that other jobs may do with. Return: @r.
 */
int folder_end(struct folder *folder, int r);
void folder_done(struct folder *folder);

/* folder_add() - enter the finished file @name: its size and hash. Return: 0 or -errno. */
int folder_add(struct run *run, struct folder *folder, const char *name);

/* folder_write() - write @size bytes as @name, and enter it. */
int folder_write(struct run *run, struct folder *folder, const char *name, const char *data,
                 size_t size);

/* folder_write_json() - write @value as @name, indented, keys sorted, and enter it. */
int folder_write_json(struct run *run, struct folder *folder, const char *name,
                      const json_t *value);

/* folder_list() - write manifest.json, which lists what was entered so far, and enter it, too. */
int folder_list(struct run *run, struct folder *folder);

/* folder_map() - say that @tensor is in the shard @name. Return: 0 or -ENOMEM. */
int folder_map(struct folder *folder, const struct tensor *tensor, const char *name);

/*
 * folder_add_shard() - folder_add() for a shard; @file NULL, or its {sha256, bytes}, which saves
 * reading it again.
 */
int folder_add_shard(struct run *run, struct folder *folder, const char *name, const json_t *file);

/* export_shards() - all shards and the index (shards.c). */
int export_shards(struct run *run, struct folder *folder);
