// SPDX-License-Identifier: Apache-2.0
#include "daemon/model/gguf/file.h"

#include "base/checked.h"
#include "base/file.h"
#include "base/lfs.h"
#include "base/macros.h"
#include "base/str.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#define HINT "the file is damaged or no GGUF: fetch it again, or make it again"
#define KEYS_MAX 4096
#define ENTRIES_MAX 65536
#define KEY_SIZE_MAX 256
#define ALIGNMENT_MAX 65536

struct key {
    struct gguf_text name;
    enum gguf_value type, element; /* element: of an array */
    uint64_t n;                    /* elements of an array */
    size_t at;                     /* where the value, or the first element, stands in the file */
};

struct gguf_file {
    struct mapping *mapping;
    const char *path; /* borrowed, while it is opened */
    struct failure *failure;
    struct key *keys; /* owned */
    size_t n_keys;
    struct gguf_entry *entries; /* by name; owned */
    uint64_t *offsets;          /* [n_entries]: in the order of the table; owned */
    size_t n_entries;
};

static int invalid(const struct gguf_file *file, const char *why) {
    return failure_set(file->failure, -EBADMSG, "model_invalid", HINT, "cannot read '%s': %s",
                       file->path, why);
}

static int bad_entry(const struct gguf_file *file, const struct gguf_entry *entry,
                     const char *why) {
    return failure_set(file->failure, -EBADMSG, "model_invalid", HINT,
                       "cannot read '%s': tensor '%s' %s", file->path, entry->name, why);
}

static struct cursor cursor_at(const struct gguf_file *file, size_t at) {
    return (struct cursor){file->mapping->data, file->mapping->size, at, false};
}

/* ---- keys ---- */

static int scan_key(struct gguf_file *file, struct cursor *c, struct key *key) {
    key->name = cursor_text(c);
    key->type = (enum gguf_value)cursor_number(c, 4);
    key->at = c->at;
    if (key->type == GGUF_ARRAY) {
        key->element = (enum gguf_value)cursor_number(c, 4);
        key->n = cursor_number(c, 8);
        key->at = c->at;
    }
    if (key->name.size == 0 || key->name.size > KEY_SIZE_MAX)
        c->failed = true;
    if (!cursor_skip(c, key->type == GGUF_ARRAY ? key->element : key->type,
                     key->type == GGUF_ARRAY ? key->n : 1))
        return invalid(file, "a key is damaged, or goes beyond the end of the file");
    return 0;
}

static int scan_keys(struct gguf_file *file, struct cursor *c, uint64_t n) {
    if (n > KEYS_MAX)
        return invalid(file, "it claims too many keys");
    file->keys = calloc(n + 1, sizeof(*file->keys));
    if (!file->keys)
        return failure_oom(file->failure);
    for (; file->n_keys < n; file->n_keys++) {
        int r = scan_key(file, c, &file->keys[file->n_keys]);

        if (r)
            return r;
    }
    return 0;
}

/* The first one called @name. */
static const struct key *find_key(const struct gguf_file *file, const char *name) {
    for (size_t i = 0; i < file->n_keys; i++) {
        const struct key *key = &file->keys[i];

        if (key->name.size == strlen(name) && !memcmp(key->name.text, name, key->name.size))
            return key;
    }
    return NULL;
}

/* ---- tensors ---- */

static int scan_entry(struct gguf_file *file, struct cursor *c, struct gguf_entry *entry,
                      uint64_t *ret_offset) {
    const struct gguf_text name = cursor_text(c);
    uint64_t n_dims = cursor_number(c, 4);
    uint32_t number;

    if (c->failed || name.size == 0 || name.size >= sizeof(entry->name) ||
        str_utf8_length(name.text, name.size) != name.size || memchr(name.text, 0, name.size))
        return invalid(file, "the table of tensors is damaged");
    memcpy(entry->name, name.text, name.size);
    if (n_dims < 1 || n_dims > GGUF_DIMS_MAX)
        return bad_entry(file, entry, "has no or too many dimensions");
    entry->n_dims = (int)n_dims;
    for (int i = 0; i < GGUF_DIMS_MAX; i++)
        entry->dims[i] = i < entry->n_dims ? cursor_number(c, 8) : 1;
    number = (uint32_t)cursor_number(c, 4);
    *ret_offset = cursor_number(c, 8);
    if (c->failed)
        return invalid(file, "the table of tensors goes beyond the end of the file");
    entry->type = gguf_type_find(number);
    if (entry->type && entry->type->block)
        return 0;
    return failure_set(file->failure, -EBADMSG, "model_unsupported",
                       "quantd reads F32, F16, BF16, Q4_0 to Q8_0, Q2_0 and the K types: make the "
                       "file again in one of them",
                       "cannot read '%s': tensor '%s' is of type %s (%u)", file->path, entry->name,
                       entry->type ? entry->type->name : "unknown", number);
}

static int scan_entries(struct gguf_file *file, struct cursor *c, uint64_t n) {
    if (n > ENTRIES_MAX)
        return invalid(file, "it claims too many tensors");
    file->entries = calloc(n + 1, sizeof(*file->entries));
    file->offsets = calloc(n + 1, sizeof(*file->offsets));
    if (!file->entries || !file->offsets)
        return failure_oom(file->failure);
    for (; file->n_entries < n; file->n_entries++) {
        size_t i = file->n_entries;
        int r = scan_entry(file, c, &file->entries[i], &file->offsets[i]);

        if (r)
            return r;
    }
    return 0;
}

/* Bytes of @entry by its dimensions. Return: false when they overflow or are no whole blocks. */
static bool measure(struct gguf_entry *entry) {
    size_t n = 1;

    if (entry->dims[0] % (uint64_t)entry->type->block)
        return false;
    for (int i = 0; i < entry->n_dims; i++) {
        if (entry->dims[i] == 0 || checked_mul(n, (size_t)entry->dims[i], &n))
            return false;
    }
    return !checked_mul(n / (size_t)entry->type->block, (size_t)entry->type->bytes, &entry->size);
}

/* Tensors follow one another from @start on, each on a multiple of @alignment. */
static int place_entries(struct gguf_file *file, size_t start, size_t alignment) {
    size_t size = file->mapping->size, expected = 0;

    if (start > size)
        return invalid(file, "it ends before its tensors");
    for (size_t i = 0; i < file->n_entries; i++) {
        struct gguf_entry *entry = &file->entries[i];
        size_t end;

        if (!measure(entry))
            return bad_entry(file, entry, "has a shape that overflows or is no whole blocks");
        if (file->offsets[i] != expected)
            return bad_entry(file, entry, "does not follow the one before it");
        if (checked_add(expected, entry->size, &end) || end > size - start)
            return bad_entry(file, entry, "ends after the end of the file");
        entry->data = file->mapping->data + start + expected;
        expected = ALIGN_UP(end, alignment); /* end is within the file, far from an overflow */
    }
    return 0;
}

static int by_name(const void *a, const void *b) {
    return strcmp(((const struct gguf_entry *)a)->name, ((const struct gguf_entry *)b)->name);
}

static int index_names(struct gguf_file *file) {
    qsort(file->entries, file->n_entries, sizeof(*file->entries), by_name);
    for (size_t i = 1; i < file->n_entries; i++) {
        if (by_name(&file->entries[i - 1], &file->entries[i]) == 0)
            return bad_entry(file, &file->entries[i], "is there twice");
    }
    return 0;
}

/* ---- the file ---- */

static int read_alignment(const struct gguf_file *file, size_t *ret_alignment) {
    double value = GGUF_ALIGNMENT;
    int r = gguf_get_number(file, "general.alignment", &value);

    if ((r && r != -ENOENT) || !(value >= 1 && value <= ALIGNMENT_MAX) ||
        ((size_t)value & ((size_t)value - 1)))
        return invalid(file, "general.alignment is no power of two up to 65536");
    *ret_alignment = (size_t)value;
    return 0;
}

static int scan(struct gguf_file *file) {
    struct cursor c = cursor_at(file, 4);
    uint64_t version, n_entries, n_keys;
    size_t alignment = 0;
    double parts = 0;
    int r;

    if (lfs_is_pointer(file->mapping->data, file->mapping->size))
        return lfs_failure(file->failure, "model_incomplete", file->path);
    if (file->mapping->size < 4 || memcmp(file->mapping->data, GGUF_MAGIC, 4) != 0)
        return invalid(file, "it does not begin with 'GGUF'");
    version = cursor_number(&c, 4);
    n_entries = cursor_number(&c, 8);
    n_keys = cursor_number(&c, 8);
    if (c.failed || version < 2 || version > GGUF_VERSION)
        return invalid(file, "it is not of version 2 or 3 of GGUF, lowest byte first");
    r = scan_keys(file, &c, n_keys);
    if (!r && !gguf_get_number(file, "split.count", &parts) && parts > 1)
        return failure_set(file->failure, -EBADMSG, "model_unsupported",
                           "join the parts: llama-gguf-split --merge FIRST OUT",
                           "cannot read '%s': it is one of %.0f parts", file->path, parts);
    if (!r)
        r = scan_entries(file, &c, n_entries);
    if (!r)
        r = read_alignment(file, &alignment);
    if (!r)
        r = place_entries(file, ALIGN_UP(c.at, alignment), alignment);
    return r ? r : index_names(file);
}

const char *gguf_root(const char *root, const char *path) {
    return root && str_equal(root, path) ? NULL : root;
}

bool gguf_is_file(const char *root, const char *path) {
    cleanup(closep) int fd = file_open_in(gguf_root(root, path), path, O_PATH);
    struct stat st;

    return fd >= 0 && !fstat(fd, &st) && S_ISREG(st.st_mode);
}

int gguf_open(const char *root, const char *path, struct gguf_file **ret_file,
              struct failure *failure) {
    cleanup(gguf_freep) struct gguf_file *file = calloc(1, sizeof(*file));
    int r;

    if (!file)
        return failure_oom(failure);
    file->path = path;
    file->failure = failure;
    r = mapping_open(gguf_root(root, path), path, SIZE_MAX, &file->mapping, failure);
    if (!r)
        r = scan(file);
    if (!r && !gguf_intact(file))
        r = invalid(file, "it was cut short while it was read");
    if (r)
        return r;
    file->path = NULL;
    file->failure = NULL;
    *ret_file = steal_ptr(file);
    return 0;
}

void gguf_free(struct gguf_file *file) {
    if (!file)
        return;
    mapping_free(file->mapping);
    free(file->offsets);
    free(file->entries);
    free(file->keys);
    free(file);
}

struct mapping *gguf_steal_mapping(struct gguf_file *file) {
    return steal_ptr(file->mapping);
}

bool gguf_intact(const struct gguf_file *file) {
    return mapping_intact(file->mapping);
}

size_t gguf_n_entries(const struct gguf_file *file) {
    return file->n_entries;
}

const struct gguf_entry *gguf_find(const struct gguf_file *file, const char *name) {
    struct gguf_entry key = {};

    if (strlen(name) >= sizeof(key.name))
        return NULL;
    strcpy(key.name, name);
    return bsearch(&key, file->entries, file->n_entries, sizeof(key), by_name);
}

/* ---- values ---- */

int gguf_get_number(const struct gguf_file *file, const char *name, double *ret_value) {
    const struct key *key = find_key(file, name);
    struct cursor c;

    if (!key)
        return -ENOENT;
    c = cursor_at(file, key->at);
    return cursor_value(&c, key->type, ret_value) ? 0 : -EBADMSG;
}

int gguf_get_text(const struct gguf_file *file, const char *name, struct gguf_text *ret_text) {
    const struct key *key = find_key(file, name);
    struct gguf_text text;
    struct cursor c;

    if (!key)
        return -ENOENT;
    c = cursor_at(file, key->at);
    text = cursor_text(&c);
    if (key->type != GGUF_STRING || c.failed)
        return -EBADMSG;
    *ret_text = text;
    return 0;
}

size_t gguf_count(const struct gguf_file *file, const char *name) {
    const struct key *key = find_key(file, name);

    return key && key->type == GGUF_ARRAY ? key->n : 0;
}

/* The array @name; an element takes a byte at least, so their number is that of bytes at most. */
static int find_array(const struct gguf_file *file, const char *name, const struct key **ret_key) {
    const struct key *key = find_key(file, name);

    if (!key)
        return -ENOENT;
    if (key->type != GGUF_ARRAY || key->n > file->mapping->size)
        return -EBADMSG;
    *ret_key = key;
    return 0;
}

int gguf_get_texts(const struct gguf_file *file, const char *name, struct gguf_text **ret_texts,
                   size_t *ret_n) {
    cleanup(freep) struct gguf_text *texts = NULL;
    const struct key *key = NULL;
    int r = find_array(file, name, &key);
    struct cursor c;

    if (r || key->element != GGUF_STRING)
        return r ? r : -EBADMSG;
    texts = calloc(key->n + 1, sizeof(*texts));
    if (!texts)
        return -ENOMEM;
    c = cursor_at(file, key->at);
    for (size_t i = 0; i < key->n; i++)
        texts[i] = cursor_text(&c);
    if (c.failed)
        return -EBADMSG;
    *ret_texts = steal_ptr(texts);
    *ret_n = key->n;
    return 0;
}

int gguf_get_numbers(const struct gguf_file *file, const char *name, int32_t **ret_numbers,
                     size_t *ret_n) {
    cleanup(freep) int32_t *numbers = NULL;
    const struct key *key = NULL;
    int r = find_array(file, name, &key);
    struct cursor c;

    if (r || (key->element != GGUF_I32 && key->element != GGUF_U32))
        return r ? r : -EBADMSG;
    numbers = calloc(key->n + 1, sizeof(*numbers));
    if (!numbers)
        return -ENOMEM;
    c = cursor_at(file, key->at);
    for (size_t i = 0; i < key->n; i++)
        numbers[i] = (int32_t)cursor_number(&c, 4);
    if (c.failed)
        return -EBADMSG;
    *ret_numbers = steal_ptr(numbers);
    *ret_n = key->n;
    return 0;
}
