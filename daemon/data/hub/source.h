// SPDX-License-Identifier: Apache-2.0
/* The source of a running job: mirror folders first, then the cache. It opens no connection. */
#pragma once

#include "daemon/data/hub/hub.h"
#include "daemon/data/source.h"

struct hub_source {
    struct source source;
    struct source *mirror; /* borrowed, as is the next */
    struct hub_client *client;
};

void hub_source_init(struct hub_source *source, struct source *mirror, struct hub_client *client);
