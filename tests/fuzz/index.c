// SPDX-License-Identifier: Apache-2.0
/* model.safetensors.index.json, beside a sound config.json and two sound shards. */
#include "base/file.h"
#include "base/str.h"
#include "daemon/model/checkpoint.h"
#include "tests/fuzz/fuzz.h"

#include <stdlib.h>

/* The folder is a copy of the model that the tests of geometry read. */
static void copy(const char *name, const char *as) {
    const char *root = getenv("QUANTD_SOURCE");
    cleanup(freep) char *path =
        str_format("%s/tests/data/geometry/tied/%s", root ? root : ".", name);
    cleanup(freep) char *data = NULL;
    size_t size;

    fuzz_require(path && !file_read(path, (size_t)64 << 20, &data, &size));
    fuzz_file(as, data, size);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    cleanup(checkpoint_freep) struct checkpoint *checkpoint = NULL;
    struct failure failure = {};
    static bool made;
    int r;

    if (!made) {
        copy("config.json", "config.json");
        copy("model.safetensors", "model-00001-of-00001.safetensors");
        made = true;
    }
    fuzz_file("model.safetensors.index.json", data, size);
    r = checkpoint_open(NULL, fuzz_folder(), &checkpoint, &failure);
    fuzz_require(!r == !!checkpoint && !r == !failure.code[0]);
    return 0;
}
