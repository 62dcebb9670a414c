// SPDX-License-Identifier: Apache-2.0
#include "daemon/model/strangers.h"

#include "base/cleanup.h"
#include "base/macros.h"

#include <fcntl.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#define ADAPTER "an adapter for another model"
#define ADAPTER_HINT                                                                               \
    "merge the adapter into its base model first: merge_and_unload() of peft, then "               \
    "save_pretrained()"
#define GGUF_HINT                                                                                  \
    "name the GGUF file itself to evaluate it; quantize the safetensors that it was made from"
#define PICKLE "a pickle file"
#define PICKLE_HINT                                                                                \
    "pickle files can run code: convert the model with save_pretrained(..., "                      \
    "safe_serialization=True)"
#define OTHER_HINT "take the model in safetensors, as transformers saves it"

/* The most telling first. */
static const struct kind {
    const char *suffix, *what, *hint;
    bool is_other_kind;
} kinds[] = {
    {"adapter_config.json", ADAPTER, ADAPTER_HINT, true},
    {"adapter_model.safetensors", ADAPTER, ADAPTER_HINT, true},
    {".gguf", "a GGUF file", GGUF_HINT, true},
    {".safetensors", "a shard without 'model.safetensors.index.json'",
     "fetch the model again, with all files that its index names", false},
    {".bin", PICKLE, PICKLE_HINT, true},
    {".pt", PICKLE, PICKLE_HINT, true},
    {".pth", PICKLE, PICKLE_HINT, true},
    {".ckpt", PICKLE, PICKLE_HINT, true},
    {".h5", "a TensorFlow file", OTHER_HINT, true},
    {".msgpack", "a Flax file", OTHER_HINT, true},
    {".onnx", "an ONNX file", OTHER_HINT, true},
};

static bool has_suffix(const char *s, const char *suffix) {
    size_t n = strlen(s), m = strlen(suffix);

    return n >= m && strcmp(s + n - m, suffix) == 0;
}

bool strangers_find(int dir_fd, struct stranger *ret_stranger) {
    int fd = openat(dir_fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    cleanup(closedirp) DIR *stream = fd < 0 ? NULL : fdopendir(fd);
    const struct kind *found = kinds + ARRAY_SIZE(kinds);
    struct dirent *entry;

    if (fd >= 0 && !stream)
        close(fd);
    while (stream && (entry = readdir(stream))) {
        for (const struct kind *kind = kinds; kind < found; kind++) {
            if (!has_suffix(entry->d_name, kind->suffix))
                continue;
            found = kind;
            snprintf(ret_stranger->name, sizeof(ret_stranger->name), "%s", entry->d_name);
        }
    }
    if (found == kinds + ARRAY_SIZE(kinds))
        return false;
    ret_stranger->what = found->what;
    ret_stranger->hint = found->hint;
    ret_stranger->is_other_kind = found->is_other_kind;
    return true;
}
