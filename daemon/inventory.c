// SPDX-License-Identifier: Apache-2.0
#include "daemon/inventory.h"

#include "base/json.h"
#include "base/str.h"
#include "daemon/daemon.h"
#include "daemon/files/walk.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define FILES_MAX 10000 /* of a model that are added up */

/* Takes over @data. */
static int make_list(json_t *data, const struct walk *walk, json_t **ret_list,
                     struct failure *failure) {
    json_t *list = json_pack("{ss so sb si}", "object", "list", "data", data, "has_more",
                             walk->truncated != 0, "unreadable", walk->n_unreadable);

    if (!list)
        return failure_oom(failure);
    *ret_list = list;
    return 0;
}

/* ---- models ---- */

/* Bytes of the weights in the folder @fd, which is closed. */
static int64_t weights_size(int fd) {
    cleanup(closedirp) DIR *dir = fdopendir(fd);
    struct dirent *entry;
    int64_t bytes = 0;

    if (!dir)
        close(fd);
    for (int i = 0; dir && i < FILES_MAX && (entry = readdir(dir)); i++) {
        const char *dot = strrchr(entry->d_name, '.');
        struct stat st;

        if (str_equal(dot, ".safetensors") && !fstatat(dirfd(dir), entry->d_name, &st, 0) &&
            S_ISREG(st.st_mode))
            bytes += st.st_size;
    }
    return bytes;
}

/* A model is a folder with a config.json and weights, or a GGUF file. */
static enum walk_answer visit_model(void *ctx, int dir_fd, const char *name, const char *path,
                                    const struct stat *st, int64_t *ret_bytes) {
    cleanup(closep) int fd = -1;
    struct stat config;

    (void)ctx, (void)path;
    if (S_ISREG(st->st_mode) && models_is_gguf(name)) {
        *ret_bytes = st->st_size;
        return WALK_KEEP;
    }
    if (!S_ISDIR(st->st_mode))
        return WALK_ON;
    fd = openat(dir_fd, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    if (fd < 0)
        return WALK_FAULT;
    if (fstatat(fd, "config.json", &config, 0) || !S_ISREG(config.st_mode))
        return WALK_ON;
    *ret_bytes = weights_size(steal_fd(&fd));
    return *ret_bytes > 0 ? WALK_KEEP : WALK_ON;
}

static int walk_models(struct models *models, struct walk *walk) {
    int r = 0;

    pthread_rwlock_rdlock(&models->lock);
    for (int i = 0; i < models->n_roots && !r; i++)
        r = walk_root(walk, models->roots[i], i);
    pthread_rwlock_unlock(&models->lock);
    walk_sort(walk);
    return r;
}

/* A name that is not UTF-8 cannot be asked for: NULL. */
static json_t *local_model(struct models *models, const struct found *found) {
    cleanup(json_decrefp) json_t *id = json_string(found->path);
    json_t *model = NULL;

    pthread_rwlock_rdlock(&models->lock);
    if (id && found->root < models->n_roots)
        model = json_pack("{sO ss ss ss s[] sI sn sb}", "id", id, "object", "model", "source",
                          "root", "root", models->roots[found->root], "revisions", "bytes",
                          (json_int_t)found->bytes, "last_used_at", "pinned", 0);
    pthread_rwlock_unlock(&models->lock);
    return model;
}

static int mark_fetched(json_t *models) {
    json_t *model;
    size_t i;

    json_array_foreach(models, i, model) {
        if (json_object_set_new(model, "source", json_string("hub")) ||
            json_object_set_new(model, "root", json_null()))
            return -ENOMEM;
    }
    return 0;
}

int inventory_models(struct daemon *daemon, json_t **ret_list, struct failure *failure) {
    cleanup(walk_done) struct walk walk = {.visit = visit_model};
    cleanup(json_decrefp) json_t *models = NULL;
    int r = hub_list_models(daemon->hub, &models, failure);

    if (r)
        return r;
    if (mark_fetched(models) || walk_models(&daemon->models, &walk))
        return failure_oom(failure);
    for (int i = 0; i < walk.n; i++) {
        json_t *model = local_model(&daemon->models, &walk.found[i]);

        walk.n_unreadable += model == NULL;
        if (model && json_array_append_new(models, model))
            return failure_oom(failure);
    }
    return make_list(steal_ptr(models), &walk, ret_list, failure);
}

/* ---- data sets ---- */

static bool is_here(const struct corpora *corpora, const struct dataset *set, enum corpus_use use) {
    const struct catalog_file *file = &catalog[set->files[use]];
    cleanup(freep) char *path = NULL;

    return !corpora->source->fetch(corpora->source, file->host, file->path, &path, NULL);
}

static int add_public(const struct corpora *corpora, json_t *sets) {
    const struct dataset *set;

    for (size_t i = 0; (set = dataset_at(i)); i++) {
        json_t *object = json_pack("{ss ss ss sn sn s{sb sb}}", "id", set->name, "object",
                                   "dataset", "source", "hub", "root", "bytes", "here",
                                   "calibration", is_here(corpora, set, CORPUS_CALIBRATION),
                                   "evaluation", is_here(corpora, set, CORPUS_EVALUATION));

        if (json_array_append_new(sets, object))
            return -ENOMEM;
    }
    return 0;
}

/* A text is a regular file that a job could read, judging by its first bytes. */
static enum walk_answer visit_text(void *ctx, int dir_fd, const char *name, const char *path,
                                   const struct stat *st, int64_t *ret_bytes) {
    cleanup(freep) char *set = str_format("file:%s", path);
    size_t size;
    int r;

    (void)dir_fd, (void)name;
    if (!S_ISREG(st->st_mode) || !set)
        return WALK_ON;
    r = corpus_check(ctx, set, &size, NULL);
    *ret_bytes = st->st_size;
    return r == -EACCES || r == -EPERM ? WALK_FAULT : r ? WALK_ON : WALK_KEEP;
}

static int add_texts(const struct corpora *corpora, struct walk *walk, json_t *sets) {
    for (int i = 0; i < walk->n; i++) {
        const struct found *found = &walk->found[i];
        cleanup(freep) char *set = str_format("file:%s", found->path);
        json_t *id = set ? json_string(set) : NULL;

        if (!set)
            return -ENOMEM;
        walk->n_unreadable += id == NULL;
        if (id && json_array_append_new(sets, json_pack("{so ss ss ss sI s{sb sb}}", "id", id,
                                                        "object", "dataset", "source", "root",
                                                        "root", corpora->data_roots[found->root],
                                                        "bytes", (json_int_t)found->bytes, "here",
                                                        "calibration", 1, "evaluation", 1)))
            return -ENOMEM;
    }
    return 0;
}

int inventory_datasets(struct daemon *daemon, json_t **ret_list, struct failure *failure) {
    const struct corpora *corpora = &daemon->corpora;
    cleanup(walk_done) struct walk walk = {.visit = visit_text, .ctx = &daemon->corpora};
    cleanup(json_decrefp) json_t *sets = json_array();
    int r = sets ? add_public(corpora, sets) : -ENOMEM;

    for (int i = 0; i < corpora->n_data_roots && !r; i++)
        r = walk_root(&walk, corpora->data_roots[i], i);
    walk_sort(&walk);
    if (!r)
        r = add_texts(corpora, &walk, sets);
    return r ? failure_oom(failure) : make_list(steal_ptr(sets), &walk, ret_list, failure);
}
