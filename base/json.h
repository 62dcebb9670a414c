// SPDX-License-Identifier: Apache-2.0
/* JSON from outside, by jansson: bounded depth, no duplicate keys, no surprise in the types. */
#pragma once

#include "base/failure.h"
#include "base/hash.h"

#include <jansson.h> /* with json_decrefp(), the cleanup of a json_t * */
#include <stdint.h>

/*
 * json_parse() - @size bytes at @text as one JSON value; duplicate keys, invalid UTF-8, trailing
 * bytes and depth above 64 are refused with failure code @code and @subject quoted. The caller
 * owns *ret_value. Return: 0, -EBADMSG or -ENOMEM. Any thread.
 */
int json_parse(const char *text, size_t size, const char *subject, const char *code,
               json_t **ret_value, struct failure *failure);

/*
 * json_text() - json_dumps(), but NULL when it ran out of memory: jansson's own then may leave
 * bytes out of the middle of the text. The caller owns it. Any thread.
 */
char *json_text(const json_t *value, size_t flags);

/*
 * json_clone() - a copy of all of @value, which shares nothing with it: jansson's counters of
 * references are not for two threads. NULL when out of memory, or for NULL. Any thread.
 */
json_t *json_clone(const json_t *value);

/*
 * json_sha256() - the hash of @value as text, whatever the order of its keys. Return: 0 or -ENOMEM,
 * also for NULL. Any thread.
 */
int json_sha256(const json_t *value, char ret_text[SHA256_TEXT_SIZE]);

/* json_time() - @wall_ms as clock_format() writes it; null for 0. NULL when out of memory. */
json_t *json_time(int64_t wall_ms);

/* json_parse_file() - the same for the file at @path of at most @max bytes; also -errno. */
int json_parse_file(const char *path, size_t max, const char *code, json_t **ret_value,
                    struct failure *failure);
/* json_parse_file_in() - the same, opened as by file_open_in(). */
int json_parse_file_in(const char *root, const char *path, size_t max, const char *code,
                       json_t **ret_value, struct failure *failure);

/*
 * json_read_file() - the text of a file that has to be JSON, with a NUL after it, which is not
 * counted; the caller owns it. @root: as for file_open_in(). What a clone without git-lfs left is
 * named as such. Return: 0, -EBADMSG with @code, -EFBIG, or -errno. Any thread.
 */
int json_read_file(const char *root, const char *path, size_t max, const char *code,
                   char **ret_text, size_t *ret_size, struct failure *failure);
