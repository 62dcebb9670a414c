// SPDX-License-Identifier: Apache-2.0
/* Where a job's model is, or will be. */
#pragma once

#include "daemon/data/hub/hub.h"
#include "daemon/pipeline/params/check.h"

#include <stdlib.h>

struct place {
    char *dir;                        /* "": it has to be fetched; owned */
    char *root;                       /* that no link in it may leave; NULL: dir itself; owned */
    struct hub_name name;             /* id "": not from the hub */
    char commit[HUB_COMMIT_SIZE];     /* "": not from the hub, or not known yet */
    char warning[CHECK_WARNING_SIZE]; /* as check_warning() has it, of the job that reads it */
};

static inline void place_done(struct place *place) {
    free(place->dir);
    free(place->root);
}
