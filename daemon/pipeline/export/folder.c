// SPDX-License-Identifier: Apache-2.0
#include "daemon/pipeline/export/folder.h"

#include "base/file.h"
#include "base/hash.h"
#include "base/json.h"
#include "base/str.h"
#include "daemon/model/arch/json_python.h"

#include <errno.h>
#include <string.h>

int folder_begin(struct run *run, struct folder *folder, const struct format_ops *format,
                 const char *name) {
    int r;

    folder->format = format;
    folder->path = str_format("%s/%s", run->work_dir, name);
    folder->files = json_array();
    folder->weight_map = json_object();
    if (!folder->path || !folder->files || !folder->weight_map)
        return failure_oom(run->failure);
    r = dir_remove(folder->path); /* of an attempt that was stopped while it exported */
    if (!r)
        r = dir_make(folder->path);
    return r ? failure_errno(run->failure, r, "cannot set up", folder->path) : 0;
}

static void finish_shards(struct folder *folder) {
    for (int i = 0; i < FOLDER_SHARDS_MAX; i++)
        shard_file_done(&folder->shards[i]);
    folder->n_shards = 0;
}

int folder_end(struct folder *folder, int r) {
    finish_shards(folder); /* nothing may still write into it */
    if (folder->path && (r == -ENOSPC || r == -EDQUOT))
        dir_remove(folder->path);
    return r;
}

void folder_done(struct folder *folder) {
    finish_shards(folder);
    if (folder->container)
        folder->format->container->close(folder->container);
    free(folder->path);
    json_decref(folder->files);
    json_decref(folder->weight_map);
    *folder = (struct folder){};
}

int folder_add(struct run *run, struct folder *folder, const char *name) {
    cleanup(freep) char *path = str_format("%s/%s", folder->path, name);
    char hash[SHA256_TEXT_SIZE];
    uint64_t size = 0;
    int r;

    if (!path)
        return failure_oom(run->failure);
    r = sha256_of_file(path, hash, &size);
    if (r)
        return failure_errno(run->failure, r, "cannot read", path);
    if (json_array_append_new(folder->files, json_pack("{s:s s:I s:s}", "name", name, "bytes",
                                                       (json_int_t)size, "sha256", hash)))
        return failure_oom(run->failure);
    return 0;
}

int folder_write(struct run *run, struct folder *folder, const char *name, const char *data,
                 size_t size) {
    cleanup(freep) char *path = str_format("%s/%s", folder->path, name);
    int r;

    if (!path)
        return failure_oom(run->failure);
    r = file_put(path, data, size); /* publish() syncs the folder */
    if (r)
        return failure_errno(run->failure, r, "cannot write", path);
    return folder_add(run, folder, name);
}

int folder_write_json(struct run *run, struct folder *folder, const char *name,
                      const json_t *value) {
    cleanup(freep) char *text = NULL;

    text = value ? json_text_python(value, JSON_SORT_KEYS | JSON_INDENT(2)) : NULL;
    if (!text)
        return failure_oom(run->failure);
    return folder_write(run, folder, name, text, strlen(text));
}

int folder_list(struct run *run, struct folder *folder) {
    cleanup(json_decrefp) json_t *manifest = json_pack("{s:O}", "files", folder->files);

    return folder_write_json(run, folder, "manifest.json", manifest);
}

int folder_map(struct folder *folder, const struct tensor *tensor, const char *name) {
    folder->tensor_bytes += tensor->size;
    return json_object_set_new(folder->weight_map, tensor->name, json_string(name)) ? -ENOMEM : 0;
}

int folder_add_shard(struct run *run, struct folder *folder, const char *name, const json_t *file) {
    json_t *entry;
    int r = 0;

    if (!json_object_get(file, "sha256") || !json_object_get(file, "bytes")) {
        r = folder_add(run, folder, name);
    } else {
        entry = json_pack("{s:s s:O s:O}", "name", name, "bytes", json_object_get(file, "bytes"),
                          "sha256", json_object_get(file, "sha256"));
        if (json_array_append_new(folder->files, entry))
            r = failure_oom(run->failure);
    }
    if (r)
        return r;
    entry = json_array_get(folder->files, json_array_size(folder->files) - 1);
    folder->shard_bytes += json_integer_value(json_object_get(entry, "bytes"));
    return 0;
}
