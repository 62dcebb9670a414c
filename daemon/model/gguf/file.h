// SPDX-License-Identifier: Apache-2.0
/*
 * A GGUF file (version 2 and 3; docs/gguf.md of ggml): keys, a table of tensors, their data.
 *
 * Reading is hostile-input code: lengths, counts and offsets are held to the file's own size, names
 * are unique, tensors follow one another without a hole, as llama.cpp wants them. The file is
 * mapped read-only, see mapping.h. Immutable after open: any thread.
 */
#pragma once

#include "base/cleanup.h"
#include "base/failure.h"
#include "daemon/model/gguf/cursor.h"
#include "daemon/model/readers/gguf_types.h"
#include "daemon/model/safetensors/mapping.h"

#define GGUF_DIMS_MAX 4

struct gguf_entry {
    char name[GGUF_NAME_SIZE];
    const struct gguf_type *type; /* one that is read */
    int n_dims;
    uint64_t dims[GGUF_DIMS_MAX]; /* columns first; 1 where there is none */
    const unsigned char *data;    /* in the mapping; any alignment */
    size_t size;                  /* bytes */
};

struct gguf_file;

/* gguf_is_file() - is @path, opened as by file_open_in(), a file, and no folder of a model? */
bool gguf_is_file(const char *root, const char *path);

/* gguf_root() - @root, as which the file at @path may stand for itself, for file_open_in(). */
const char *gguf_root(const char *root, const char *path);

/*
 * gguf_open() - map and check the file at @path, opened as by file_open_in(); the caller owns
 * *ret_file. Return: 0, -EBADMSG (model_invalid, model_unsupported), or -errno.
 */
int gguf_open(const char *root, const char *path, struct gguf_file **ret_file,
              struct failure *failure);
void gguf_free(struct gguf_file *file); /* NULL is fine */

DEFINE_CLEANUP(struct gguf_file *, gguf_freep, gguf_free)

/* gguf_steal_mapping() - the file's mapping becomes the caller's, and must outlive it. */
struct mapping *gguf_steal_mapping(struct gguf_file *file);

/* gguf_intact() - false once the file was cut short under its mapping. */
bool gguf_intact(const struct gguf_file *file);

size_t gguf_n_entries(const struct gguf_file *file);
/* gguf_find() - the tensor called @name, or NULL. */
const struct gguf_entry *gguf_find(const struct gguf_file *file, const char *name);

/* gguf_get_number() - the number or boolean @key. Return: 0; -ENOENT; -EBADMSG: it is none. */
int gguf_get_number(const struct gguf_file *file, const char *key, double *ret_value);

/* gguf_get_text() - the string @key. Return: 0; -ENOENT; -EBADMSG: it is none. */
int gguf_get_text(const struct gguf_file *file, const char *key, struct gguf_text *ret_text);

/* gguf_count() - elements of the array @key; 0 when there is no such array. */
size_t gguf_count(const struct gguf_file *file, const char *key);

/*
 * gguf_get_texts() - the strings of the array @key; the caller frees *ret_texts.
 * Return: 0; -ENOENT; -EBADMSG: it is no array of strings; -ENOMEM.
 */
int gguf_get_texts(const struct gguf_file *file, const char *key, struct gguf_text **ret_texts,
                   size_t *ret_n);

/* gguf_get_numbers() - the same of an array of u32 or i32. */
int gguf_get_numbers(const struct gguf_file *file, const char *key, int32_t **ret_numbers,
                     size_t *ret_n);
