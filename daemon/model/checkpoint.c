// SPDX-License-Identifier: Apache-2.0
#include "daemon/model/checkpoint.h"

#include "base/file.h"
#include "base/json.h"
#include "base/str.h"
#include "daemon/model/arch/config_read.h"
#include "daemon/model/checkpoint_check.h"
#include "daemon/model/gguf/config.h"
#include "daemon/model/gguf/tensors.h"
#include "daemon/model/readers/gguf.h"
#include "daemon/model/strangers.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#define INDEX_BYTES_MAX (32 << 20)
#define CONFIG_BYTES_MAX (1 << 20)
#define N_SHARDS_MAX 2048
#define NAME_SIZE 1100 /* above the longest name that safetensors.c lets in */

#define SINGLE "model.safetensors"
#define INDEX "model.safetensors.index.json"
#define FETCH_AGAIN "fetch the model again, with all files that its index names"

static int compare_names(const void *a, const void *b) {
    return strcmp(*(const char *const *)a, *(const char *const *)b);
}

/* A file that cannot be opened is there: who opens it learns why. */
static bool has_file(const struct checkpoint *checkpoint, const char *name) {
    char path[PATH_MAX]; /* no allocation: without memory the answer would be no */
    int n = snprintf(path, sizeof(path), "%s/%s", checkpoint->dir, name);
    cleanup(closep) int fd = -1;

    if (n < 0 || (size_t)n >= sizeof(path))
        return false;
    fd = file_open_in(checkpoint->root, path, O_PATH);
    return fd != -ENOENT && fd != -ENOTDIR;
}

static bool has_suffix(const char *s, const char *suffix) {
    size_t n = strlen(s), m = strlen(suffix);

    return n >= m && strcmp(s + n - m, suffix) == 0;
}

/* Says why there is nothing to read: weights of another kind, or none at all. */
static int no_weights(const struct checkpoint *checkpoint, struct failure *failure) {
    const char *dir = checkpoint->dir;
    cleanup(closep) int fd = file_open_in(checkpoint->root, dir, O_RDONLY | O_DIRECTORY);
    struct stranger stranger;

    if (fd >= 0 && strangers_find(fd, &stranger))
        return failure_set(failure, stranger.is_other_kind ? -EBADMSG : -ENOENT,
                           stranger.is_other_kind ? "model_unsupported" : "model_incomplete",
                           stranger.hint, "model '%s' has no weights but '%s', %s", dir,
                           stranger.name, stranger.what);
    return failure_set(failure, -ENOENT, "model_incomplete", FETCH_AGAIN,
                       "model '%s' has neither '%s' nor '%s'", dir, SINGLE, INDEX);
}

/* Enters the shard that was opened last, called @name, as a file to be hashed and watched. */
static int enter_file(struct checkpoint *checkpoint, const char *name, const char *path,
                      struct failure *failure) {
    size_t i = checkpoint->n_shards - 1;
    const struct mapping *mapping = safetensors_mapping(checkpoint->shards[i]);
    struct fingerprint_file *file = &checkpoint->files[i];

    file->name = strdup(name);
    file->root = checkpoint->root;
    file->path = strdup(path);
    file->identity = mapping->identity;
    if (!file->name || !file->path || watch_add(&checkpoint->watch, file->path, &file->identity))
        return failure_oom(failure);
    return 0;
}

static int add_shard(struct checkpoint *checkpoint, const char *name, struct failure *failure) {
    cleanup(freep) char *path = str_format("%s/%s", checkpoint->dir, name);
    int r;

    if (!path)
        return failure_oom(failure);
    r = safetensors_open(checkpoint->root, path, &checkpoint->shards[checkpoint->n_shards],
                         failure);
    if (r == -ENOENT)
        return failure_set(failure, r, "model_incomplete", FETCH_AGAIN,
                           "model '%s' lacks the shard '%s'", checkpoint->dir, name);
    if (r)
        return r;
    checkpoint->n_shards++;
    return enter_file(checkpoint, name, path, failure);
}

static int bad_index(const struct checkpoint *checkpoint, const char *what,
                     struct failure *failure) {
    return failure_set(failure, -EBADMSG, "model_invalid", FETCH_AGAIN,
                       "cannot use the index '%s' of model '%s': %s", INDEX, checkpoint->dir, what);
}

/*
 * The names of the shards in @map, each once, in order. They point into @map; the array is the
 * caller's.
 */
static int list_shards(const struct checkpoint *checkpoint, json_t *map, const char ***ret_names,
                       size_t *ret_n, struct failure *failure) {
    size_t n_entries = json_object_size(map), n = 0, n_unique = 0;
    cleanup(freep) const char **names = NULL;
    const char *tensor;
    json_t *value;

    if (n_entries == 0)
        return bad_index(checkpoint, "its weight_map names no tensors", failure);
    names = malloc(n_entries * sizeof(*names));
    if (!names)
        return failure_oom(failure);
    json_object_foreach(map, tensor, value) {
        const char *shard = json_string_value(value);

        if (!shard || !str_is_safe_name(shard) || !has_suffix(shard, ".safetensors"))
            return failure_set(failure, -EBADMSG, "model_invalid", FETCH_AGAIN,
                               "cannot use the index '%s' of model '%s': tensor '%.128s' is in "
                               "'%.128s', which is not a name of a shard",
                               INDEX, checkpoint->dir, tensor, shard ? shard : "");
        names[n++] = shard;
    }
    qsort(names, n, sizeof(*names), compare_names);
    for (size_t i = 0; i < n; i++) {
        if (n_unique == 0 || strcmp(names[n_unique - 1], names[i]) != 0)
            names[n_unique++] = names[i];
    }
    if (n_unique > N_SHARDS_MAX)
        return bad_index(checkpoint, "it names too many shards", failure);
    *ret_names = steal_ptr(names);
    *ret_n = n_unique;
    return 0;
}

/* Every tensor lies in the shard that the index names for it, and in no other. */
static int check_index(const struct checkpoint *checkpoint, json_t *map, const char **names,
                       struct failure *failure) {
    const char *tensor;
    json_t *value;

    json_object_foreach(map, tensor, value) {
        for (size_t i = 0; i < checkpoint->n_shards; i++) {
            bool is_named = strcmp(names[i], json_string_value(value)) == 0;
            bool is_there = safetensors_find(checkpoint->shards[i], tensor) != NULL;

            if (is_named && !is_there)
                return failure_set(failure, -ENOENT, "model_incomplete", FETCH_AGAIN,
                                   "model '%s': shard '%s' lacks tensor '%.128s', which the index "
                                   "puts there",
                                   checkpoint->dir, names[i], tensor);
            if (!is_named && is_there)
                return failure_set(failure, -EBADMSG, "model_invalid", FETCH_AGAIN,
                                   "model '%s': tensor '%.128s' is in shard '%s', too, which the "
                                   "index does not say",
                                   checkpoint->dir, tensor, names[i]);
        }
    }
    return 0;
}

static int alloc_shards(struct checkpoint *checkpoint, size_t n, struct failure *failure) {
    checkpoint->shards = calloc(n, sizeof(struct safetensors *));
    checkpoint->files = calloc(n, sizeof(*checkpoint->files));
    return checkpoint->shards && checkpoint->files ? 0 : failure_oom(failure);
}

static int open_indexed(struct checkpoint *checkpoint, const char ***ret_names, json_t **ret_index,
                        struct failure *failure) {
    cleanup(freep) char *path = str_format("%s/%s", checkpoint->dir, INDEX);
    json_t *map;
    size_t n = 0;
    int r;

    if (!path)
        return failure_oom(failure);
    r = json_parse_file_in(checkpoint->root, path, INDEX_BYTES_MAX, "model_invalid", ret_index,
                           failure);
    if (r)
        return r;
    map = json_object_get(*ret_index, "weight_map");
    if (!json_is_object(map))
        return bad_index(checkpoint, "it has no weight_map", failure);
    r = list_shards(checkpoint, map, ret_names, &n, failure);
    if (!r)
        r = alloc_shards(checkpoint, n, failure);
    for (size_t i = 0; i < n && !r; i++)
        r = add_shard(checkpoint, (*ret_names)[i], failure);
    return r ? r : check_index(checkpoint, map, *ret_names, failure);
}

/* A number in front of the bytes keeps neighbours apart. */
static void hash_block(struct sha256 *hash, const void *data, size_t size) {
    unsigned char length[8];

    for (int i = 0; i < 8; i++)
        length[i] = (unsigned char)((uint64_t)size >> 8 * i);
    sha256_update(hash, length, sizeof(length));
    sha256_update(hash, data, size);
}

static void hash_schemes(struct sha256 *hash, const struct schemes *schemes) {
    for (int i = 0; i < schemes->n; i++) {
        const struct scheme *s = &schemes->list[i];
        const int numbers[] = {s->wbits, s->groupsize, s->sym, s->desc_act};

        hash_block(hash, numbers, sizeof(numbers));
        if (s->sub_bits)
            hash_block(hash, &s->sub_bits, sizeof(s->sub_bits));
    }
    hash_block(hash, schemes->of, schemes->n_matrices);
}

/* What is part of the fingerprint beside the shards. */
static int describe(struct checkpoint *checkpoint, struct failure *failure) {
    cleanup(freep) char *path = str_format("%s/config.json", checkpoint->dir);
    const struct quantization_config *q = &checkpoint->config.quantization;
    /* From quantize_config.json, perhaps, which is hashed nowhere else. */
    const int quantization[] = {q->present, q->wbits, q->groupsize, q->sym, q->desc_act, q->v2};
    cleanup(sha256_freep) struct sha256 *hash = sha256_new();
    cleanup(freep) char *config = NULL;
    size_t size;
    int r;

    if (!path || !hash)
        return failure_oom(failure);
    r = file_read_in(checkpoint->root, path, CONFIG_BYTES_MAX, &config, &size);
    if (r)
        return failure_open(failure, r, "cannot read", path);
    hash_block(hash, config, size);
    hash_block(hash, quantization, sizeof(quantization));
    if (q->sub_bits)
        hash_block(hash, &q->sub_bits, sizeof(q->sub_bits));
    if (q->schemes)
        hash_schemes(hash, q->schemes);
    sha256_finish(hash, checkpoint->description);
    return 0;
}

/* Before they are read: a change during that is one, too. */
static int watch_texts(struct checkpoint *checkpoint, struct failure *failure) {
    static const char *const names[] = {"config.json", "quantize_config.json", INDEX};

    for (size_t i = 0; i < ARRAY_SIZE(names); i++) {
        int r = checkpoint_watch(checkpoint, names[i], failure);

        if (r)
            return r;
    }
    return 0;
}

int checkpoint_watch(struct checkpoint *checkpoint, const char *name, struct failure *failure) {
    const char *slash = checkpoint->is_gguf ? strrchr(checkpoint->dir, '/') : NULL;
    size_t n = slash ? (size_t)(slash - checkpoint->dir) : strlen(checkpoint->dir);
    cleanup(freep) char *path = str_format("%.*s/%s", (int)n, checkpoint->dir, name);
    int r = path ? watch_add(&checkpoint->watch, path, NULL) : -ENOMEM;

    return r ? failure_open(failure, r, "cannot look at", path ? path : name) : 0;
}

int checkpoint_start_hashing(const struct checkpoint *checkpoint, const char *cache_path,
                             struct fingerprint **ret_fingerprint, struct failure *failure) {
    return fingerprint_start(checkpoint->files, checkpoint->n_shards, checkpoint->description,
                             cache_path, ret_fingerprint, failure);
}

static int check_tensors(const struct checkpoint *checkpoint, const char *listing,
                         struct failure *failure) {
    const struct checked_model model = {checkpoint->dir, listing, &checkpoint->config,
                                        checkpoint_finder(checkpoint)};

    return checkpoint_check(&model, failure);
}

static int open_shards(struct checkpoint *checkpoint, struct failure *failure) {
    cleanup(json_decrefp) json_t *index = NULL;
    cleanup(freep) const char **names = NULL; /* into index */
    bool is_single = has_file(checkpoint, SINGLE);
    int r;

    if (is_single) {
        r = alloc_shards(checkpoint, 1, failure);
        if (!r)
            r = add_shard(checkpoint, SINGLE, failure);
    } else if (has_file(checkpoint, INDEX)) {
        r = open_indexed(checkpoint, &names, &index, failure);
    } else {
        r = no_weights(checkpoint, failure);
    }
    if (!r)
        r = check_tensors(checkpoint, is_single ? SINGLE : INDEX, failure);
    return r ? r : describe(checkpoint, failure);
}

/* config.json, its companions, and the shards. */
static int open_folder(struct checkpoint *checkpoint, struct failure *failure) {
    int r = watch_texts(checkpoint, failure);

    if (!r)
        r = model_config_read(checkpoint->root, checkpoint->dir, &checkpoint->config, failure);
    return r ? r : open_shards(checkpoint, failure);
}

/* ---- a GGUF file ---- */

static int read_gguf(struct checkpoint *checkpoint, struct gguf_file *file,
                     struct failure *failure) {
    struct model_config *config = &checkpoint->config;
    cleanup(json_decrefp) json_t *object = NULL;
    bool quantized = false;
    int r = gguf_config(file, checkpoint->dir, &object, failure);

    if (!r)
        r = model_config_from_json(object, checkpoint->dir, config, failure);
    if (!r)
        r = gguf_tensors(file, config, checkpoint->dir, &checkpoint->shards[0], &quantized,
                         failure);
    if (!r && quantized) {
        r = reader_gguf.parse(NULL, &config->quantization);
        config->quantization.reader = &reader_gguf;
    }
    return r;
}

/* The one file is all that the fingerprint depends on. */
static int open_gguf(struct checkpoint *checkpoint, struct failure *failure) {
    cleanup(sha256_freep) struct sha256 *hash = sha256_new();
    cleanup(gguf_freep) struct gguf_file *file = NULL;
    const char *slash = strrchr(checkpoint->dir, '/');
    int r = hash ? alloc_shards(checkpoint, 1, failure) : failure_oom(failure);

    checkpoint->is_gguf = true;
    if (!r)
        r = gguf_open(checkpoint->root, checkpoint->dir, &file, failure);
    if (!r)
        r = read_gguf(checkpoint, file, failure);
    if (r)
        return r;
    checkpoint->n_shards = 1;
    r = enter_file(checkpoint, slash ? slash + 1 : checkpoint->dir, checkpoint->dir, failure);
    if (!r)
        r = check_tensors(checkpoint, slash ? slash + 1 : checkpoint->dir, failure);
    hash_block(hash, GGUF_MAGIC, strlen(GGUF_MAGIC));
    sha256_finish(hash, checkpoint->description);
    return r;
}

int checkpoint_open(const char *root, const char *dir, struct checkpoint **ret_checkpoint,
                    struct failure *failure) {
    cleanup(checkpoint_freep) struct checkpoint *checkpoint = calloc(1, sizeof(*checkpoint));
    bool is_file = gguf_is_file(root, dir);
    int r;

    root = is_file ? gguf_root(root, dir) : root;
    if (!checkpoint || !(checkpoint->dir = strdup(dir)) ||
        (root && !(checkpoint->root = strdup(root))))
        return failure_oom(failure);
    checkpoint->watch.root = checkpoint->root;
    r = is_file ? open_gguf(checkpoint, failure) : open_folder(checkpoint, failure);
    if (r)
        return r;
    if (!checkpoint_intact(checkpoint))
        return failure_set(failure, -EBADMSG, "model_invalid", FETCH_AGAIN,
                           "a shard of model '%s' was cut short while it was read", dir);
    *ret_checkpoint = steal_ptr(checkpoint);
    return 0;
}

void checkpoint_free(struct checkpoint *checkpoint) {
    if (!checkpoint)
        return;
    for (size_t i = 0; i < checkpoint->n_shards; i++) {
        safetensors_free(checkpoint->shards[i]);
        free((char *)checkpoint->files[i].name);
        free((char *)checkpoint->files[i].path);
    }
    watch_done(&checkpoint->watch);
    model_config_done(&checkpoint->config);
    free(checkpoint->files);
    free(checkpoint->shards);
    free(checkpoint->dir);
    free(checkpoint->root);
    free(checkpoint);
}

static const struct tensor *find(const void *ctx, const char *name) {
    const struct checkpoint *checkpoint = ctx;

    for (size_t i = 0; i < checkpoint->n_shards; i++) {
        const struct tensor *tensor = safetensors_find(checkpoint->shards[i], name);

        if (tensor)
            return tensor;
    }
    return NULL;
}

struct tensor_finder checkpoint_finder(const struct checkpoint *checkpoint) {
    return (struct tensor_finder){find, checkpoint};
}

const struct tensor *checkpoint_find(const struct checkpoint *checkpoint, const char *format, ...) {
    char name[NAME_SIZE];
    va_list args;
    int n;

    va_start(args, format);
    n = vsnprintf(name, sizeof(name), format, args);
    va_end(args);
    return n < 0 || (size_t)n >= sizeof(name) ? NULL : find(checkpoint, name);
}

bool checkpoint_intact(const struct checkpoint *checkpoint) {
    for (size_t i = 0; i < checkpoint->n_shards; i++) {
        if (!safetensors_intact(checkpoint->shards[i]))
            return false;
    }
    return true;
}
