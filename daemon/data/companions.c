// SPDX-License-Identifier: Apache-2.0
#include "daemon/data/companions.h"

#include "base/cleanup.h"
#include "base/file.h"
#include "base/json.h"
#include "base/macros.h"
#include "base/str.h"

#include <errno.h>

/* Vocabulary and merges once more, as slow tokenizers read them, and the template of a chat, which
 * stands in tokenizer_config.json or, since transformers 4.50, in a file of its own. README.md
 * names the licence. */
const struct companion companions[] = {
    {"config.json", .needed = true, .json = true},
    {"tokenizer.json", .needed = true, .copied = true, .json = true},
    {"model.safetensors.index.json", .json = true},
    {"tokenizer_config.json", .copied = true, .json = true},
    {"special_tokens_map.json", .copied = true, .json = true},
    {"added_tokens.json", .copied = true, .json = true},
    {"vocab.json", .copied = true, .json = true},
    {"merges.txt", .copied = true},
    {"chat_template.json", .copied = true, .json = true},
    {"chat_template.jinja", .copied = true},
    {"generation_config.json", .copied = true, .json = true},
    {"README.md"},
};
const int n_companions = ARRAY_SIZE(companions);

int companion_read(const struct companion *companion, const char *root, const char *dir,
                   char **ret_data, size_t *ret_size, struct failure *failure) {
    cleanup(freep) char *path = str_format("%s/%s", dir, companion->name);
    cleanup(json_decrefp) json_t *value = NULL;
    cleanup(freep) char *data = NULL;
    size_t size = 0;
    int r;

    if (!path)
        return failure_oom(failure);
    r = file_read_in(root, path, COMPANION_BYTES_MAX, &data, &size);
    if (r == -ENOENT)
        return r;
    if (r == -EINVAL || r == -EISDIR || r == -EFBIG)
        return failure_set(failure, -EBADMSG, "model_invalid",
                           "fetch the model again, or remove the file",
                           "cannot use '%s': it is no regular file of at most %zu MiB", path,
                           COMPANION_BYTES_MAX >> 20);
    if (r)
        return failure_open(failure, r, "cannot read", path);
    if (companion->json) {
        r = json_parse(data, size, path, "model_invalid", &value, failure);
        if (r)
            return r;
    }
    *ret_data = steal_ptr(data);
    *ret_size = size;
    return 0;
}

int companions_check(const char *root, const char *dir, struct failure *failure) {
    for (int i = 0; i < n_companions; i++) {
        cleanup(freep) char *data = NULL;
        size_t size;
        int r = companions[i].copied
                    ? companion_read(&companions[i], root, dir, &data, &size, failure)
                    : 0;

        if (r && r != -ENOENT)
            return r;
    }
    return 0;
}
