// SPDX-License-Identifier: Apache-2.0
#include "daemon/data/hub/source.h"

#include <errno.h>

static int fetch(struct source *source, const char *host, const char *path, char **ret_path,
                 struct failure *failure) {
    struct hub_source *own = (struct hub_source *)source; /* its first member */
    int r = own->mirror->fetch(own->mirror, host, path, ret_path, failure);

    return r == -ENOENT ? hub_find_file(own->client, host, path, ret_path, failure) : r;
}

void hub_source_init(struct hub_source *source, struct source *mirror, struct hub_client *client) {
    *source = (struct hub_source){.source = {.fetch = fetch}, .mirror = mirror, .client = client};
}
