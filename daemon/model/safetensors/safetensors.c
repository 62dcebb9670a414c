// SPDX-License-Identifier: Apache-2.0
#include "daemon/model/safetensors/safetensors.h"

#include "base/checked.h"
#include "base/lfs.h"
#include "daemon/model/safetensors/header.h"
#include "daemon/model/safetensors/mapping.h"

#include <errno.h>
#include <string.h>

#define HEADER_BYTES_MAX 100000000 /* of the reference implementation */
#define LENGTH_BYTES 8

struct safetensors {
    struct mapping *mapping;
    char *text;             /* a copy of the header, decoded in place: the names live here */
    size_t header_size;     /* bytes */
    struct header header;   /* entries by offset */
    struct tensor **sorted; /* the same tensors by name */
};

static int invalid(struct failure *failure, const char *path, const char *why) {
    return failure_set(failure, -EBADMSG, "model_invalid", HEADER_HINT, "cannot read '%s': %s",
                       path, why);
}

static int by_offset(const void *a, const void *b) {
    const struct header_entry *x = a, *y = b;

    if (x->begin != y->begin)
        return x->begin < y->begin ? -1 : 1;
    if (x->end != y->end)
        return x->end < y->end ? -1 : 1;
    return strcmp(x->tensor.name, y->tensor.name);
}

static int by_name(const void *a, const void *b) {
    const struct tensor *const *x = a, *const *y = b;

    return strcmp((*x)->name, (*y)->name);
}

/* The bytes that follow the length and the header. */
static const unsigned char *data_of(const struct safetensors *file, size_t *ret_size) {
    size_t start = LENGTH_BYTES + file->header_size;

    *ret_size = file->mapping->size - start;
    return file->mapping->data + start;
}

/* Copies the header, so that it cannot change under the scanner, and scans it. */
static int read_header(struct safetensors *file, const char *path, struct failure *failure) {
    const struct mapping *mapping = file->mapping;
    uint64_t length = 0;

    if (lfs_is_pointer(mapping->data, mapping->size))
        return lfs_failure(failure, "model_incomplete", path);
    if (mapping->size < LENGTH_BYTES)
        return invalid(failure, path, "too short for a header length");
    for (int i = 0; i < LENGTH_BYTES; i++)
        length |= (uint64_t)mapping->data[i] << 8 * i;
    if (length > HEADER_BYTES_MAX)
        return invalid(failure, path, "the header claims more than 100 MB");
    if (length > mapping->size - LENGTH_BYTES)
        return invalid(failure, path, "the header claims more bytes than the file has");

    file->header_size = (size_t)length;
    file->text = malloc(file->header_size + 1);
    if (!file->text)
        return failure_oom(failure);
    memcpy(file->text, mapping->data + LENGTH_BYTES, file->header_size);
    file->text[file->header_size] = '\0';
    return safetensors_header_parse(file->text, file->header_size, path, &file->header, failure);
}

/* Elements and bytes of @tensor by its shape. Return: false when they overflow. */
static bool measure(struct tensor *tensor) {
    size_t n = 1;

    for (int i = 0; i < tensor->n_dims; i++) {
        if (tensor->shape[i] > SIZE_MAX || checked_mul(n, (size_t)tensor->shape[i], &n))
            return false;
    }
    tensor->n = n;
    return !checked_mul(n, dtype_size(tensor->dtype), &tensor->size);
}

/* Offsets start at 0 and leave neither a hole nor an overlap nor a rest. */
static int place_tensors(struct safetensors *file, const char *path, struct failure *failure) {
    size_t data_size;
    const unsigned char *data = data_of(file, &data_size);
    uint64_t expected = 0;

    if (file->header.n_entries > 0)
        qsort(file->header.entries, file->header.n_entries, sizeof(*file->header.entries),
              by_offset);
    for (size_t i = 0; i < file->header.n_entries; i++) {
        struct header_entry *entry = &file->header.entries[i];
        struct tensor *tensor = &entry->tensor;
        const char *why = NULL;

        if (entry->end < entry->begin)
            why = "ends before it begins";
        else if (entry->begin != expected)
            why = entry->begin < expected ? "overlaps another" : "leaves a hole before it";
        else if (entry->end > data_size)
            why = "ends after the end of the file";
        else if (!measure(tensor))
            why = "has a shape that overflows";
        else if (tensor->size != entry->end - entry->begin)
            why = "has another number of bytes than its shape and dtype say";
        if (why)
            return failure_set(failure, -EBADMSG, "model_invalid", HEADER_HINT,
                               "cannot read '%s': tensor '%s' %s", path, tensor->name, why);
        tensor->data = data + entry->begin;
        expected = entry->end;
    }
    if (expected != data_size)
        return invalid(failure, path, "bytes after the last tensor");
    return 0;
}

static int sort_names(struct safetensors *file) {
    size_t n = file->header.n_entries;

    file->sorted = malloc((n + 1) * sizeof(struct tensor *));
    if (!file->sorted)
        return -ENOMEM;
    for (size_t i = 0; i < n; i++)
        file->sorted[i] = &file->header.entries[i].tensor;
    qsort(file->sorted, n, sizeof(struct tensor *), by_name);
    return 0;
}

static int index_names(struct safetensors *file, const char *path, struct failure *failure) {
    size_t n = file->header.n_entries;

    if (sort_names(file))
        return failure_oom(failure);
    for (size_t i = 1; i < n; i++) {
        if (strcmp(file->sorted[i - 1]->name, file->sorted[i]->name) == 0)
            return failure_set(failure, -EBADMSG, "model_invalid", HEADER_HINT,
                               "cannot read '%s': tensor '%s' is there twice", path,
                               file->sorted[i]->name);
    }
    return 0;
}

int safetensors_open(const char *root, const char *path, struct safetensors **ret_file,
                     struct failure *failure) {
    cleanup(safetensors_freep) struct safetensors *file = calloc(1, sizeof(*file));
    int r;

    if (!file)
        return failure_oom(failure);
    r = mapping_open(root, path, SIZE_MAX, &file->mapping, failure);
    if (r)
        return r;
    r = read_header(file, path, failure);
    if (!r)
        r = place_tensors(file, path, failure);
    if (!r)
        r = index_names(file, path, failure);
    if (r)
        return r;
    if (!mapping_intact(file->mapping))
        return invalid(failure, path, "it was cut short while it was read");
    *ret_file = steal_ptr(file);
    return 0;
}

int safetensors_adopt(struct mapping *mapping, const struct tensor *tensors, size_t n_tensors,
                      char *names, struct safetensors **ret_file) {
    cleanup(safetensors_freep) struct safetensors *file = calloc(1, sizeof(*file));

    if (!file) {
        mapping_free(mapping);
        free(names);
        return -ENOMEM;
    }
    file->mapping = mapping;
    file->text = names;
    file->header.entries = calloc(n_tensors + 1, sizeof(*file->header.entries));
    if (!file->header.entries)
        return -ENOMEM;
    file->header.n_entries = n_tensors;
    for (size_t i = 0; i < n_tensors; i++)
        file->header.entries[i].tensor = tensors[i];
    if (sort_names(file))
        return -ENOMEM;
    *ret_file = steal_ptr(file);
    return 0;
}

void safetensors_free(struct safetensors *file) {
    if (!file)
        return;
    free(file->sorted);
    free(file->header.entries);
    free(file->text);
    mapping_free(file->mapping);
    free(file);
}

size_t safetensors_n_tensors(const struct safetensors *file) {
    return file->header.n_entries;
}

const struct tensor *safetensors_at(const struct safetensors *file, size_t i) {
    return &file->header.entries[i].tensor;
}

const struct tensor *safetensors_find(const struct safetensors *file, const char *name) {
    const struct tensor wanted = {.name = name}, *key = &wanted;
    struct tensor **found;

    found = bsearch(&key, file->sorted, file->header.n_entries, sizeof(struct tensor *), by_name);
    return found ? *found : NULL;
}

static const struct tensor *find(const void *ctx, const char *name) {
    return safetensors_find(ctx, name);
}

struct tensor_finder safetensors_finder(const struct safetensors *file) {
    return (struct tensor_finder){find, file};
}

bool safetensors_intact(const struct safetensors *file) {
    return mapping_intact(file->mapping);
}

const struct mapping *safetensors_mapping(const struct safetensors *file) {
    return file->mapping;
}

const void *safetensors_data(const struct safetensors *file, size_t *ret_size) {
    return data_of(file, ret_size);
}
