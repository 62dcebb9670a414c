// SPDX-License-Identifier: Apache-2.0
/*
 * A folder of files that can be computed again. A file appears whole, by a rename; when its room is
 * wanted, the longest unused go first. Several processes, of several machines too, may use one
 * folder. A loss of power may leave a file of the right size with other bytes, and others may have
 * written into the folder: who reads a file checks its content. Any thread.
 */
#pragma once

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#define CACHE_NAME_SIZE 65 /* of a file: 64 lower-case hex digits and the NUL */
#define CACHE_ID_SIZE 33   /* of a folder: 32 lower-case hex digits and the NUL */

struct cache {
    char *dir; /* owned; NULL: nothing is kept */
    /* What the folder's file `id` has: a machine that finds another one there has another folder.
     */
    char id[CACHE_ID_SIZE];
    atomic_uint_fast64_t limit; /* bytes of all files; 0: none is kept; may be set at any time */
    atomic_uint_fast64_t floor; /* bytes of the disk that stay free; likewise */
};

/*
 * cache_open() - use the folder @dir, which is made when it is missing. Return: 0 or -errno, and
 * then nothing is kept.
 */
int cache_open(struct cache *cache, const char *dir, uint64_t limit, uint64_t floor);
/*
 * cache_join() - use the folder @dir if it is there, and is the one with @id. Return: 0; -ENOENT:
 * it is not; or -errno, and then nothing is kept.
 */
int cache_join(struct cache *cache, const char *dir, const char *id, uint64_t limit,
               uint64_t floor);
void cache_close(struct cache *cache); /* a zeroed one is fine */

/* cache_is_on() - is anything kept? NULL is fine: no. */
bool cache_is_on(const struct cache *cache);

/*
 * cache_find() - open the file @name to read, and note that it was used. Return: a descriptor,
 * owned by the caller, of a regular file of *ret_size bytes; -ENOENT: there is none such; -errno.
 */
int cache_find(const struct cache *cache, const char *name, uint64_t *ret_size);

/* cache_drop() - remove the file @name, if there is one. */
void cache_drop(const struct cache *cache, const char *name);

/* A file that is being written. */
struct cache_file {
    int fd; /* to read and write; owned */
    char *path;
};

/*
 * cache_begin() - a new file of @bytes, for which room is made and taken. Return: 0; -EFBIG: that
 * is more than the limit; -ENOSPC: the disk has no room; or -errno.
 */
int cache_begin(const struct cache *cache, uint64_t bytes, struct cache_file *ret_file);
/* cache_publish() - it is whole, and appears as @name; ends it. Return: 0 or -errno. */
int cache_publish(const struct cache *cache, struct cache_file *file, const char *name);
/* cache_abandon() - end it and leave nothing; a zeroed one is fine. */
void cache_abandon(struct cache_file *file);

/*
 * cache_sweep() - remove what writers that were killed have left, and what is above the limit or
 * takes room that shall stay free. Return: 0 or -errno.
 */
int cache_sweep(const struct cache *cache);

/* cache_measure() - how many files there are, and their bytes. Return: 0 or -errno. */
int cache_measure(const struct cache *cache, int *ret_files, uint64_t *ret_bytes);
