// SPDX-License-Identifier: Apache-2.0
#include "tests/api/fake/fake.h"

#include "base/macros.h"
#include "base/str.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>

static int state(struct fake *fake, json_t **ret_state) {
    *ret_state = json_pack("{s:s, s:s, s:s, s:s, s:s, s:s, s:i, s:n, s:n}", "object", "backup",
                           "name", "quantd.db", "status", fake->backup_runs ? "running" : "done",
                           "created_at", "2026-11-22T09:30:00.125Z", "path", "/x/quantd.db", "url",
                           "/v1/backup/quantd.db", "bytes", 2, "sha256", "error");
    return 0;
}

static int begin(void *ctx, const struct caller *caller, json_t **ret_state,
                 struct failure *failure) {
    struct fake *fake = ctx;

    (void)caller;
    if (fake->backup_runs)
        return failure_set(failure, -EBUSY, "backup_running", "a hint", "one is being written");
    return state(fake, ret_state);
}

static int get(void *ctx, json_t **ret_state, struct failure *failure) {
    (void)failure;
    return state(ctx, ret_state);
}

static int open_file(void *ctx, const char *name, struct artifact *ret_file,
                     struct failure *failure) {
    struct fake *fake = ctx;
    char path[128];

    snprintf(path, sizeof(path), "%s/%s", fake->folder, "quantd.json");
    if (!str_has_prefix(name, "quantd."))
        return failure_set(failure, -ENOENT, "backup_not_found", "a hint", "no backup '%s'", name);
    ret_file->fd = open(path, O_RDONLY | O_CLOEXEC);
    ret_file->size = 2;
    snprintf(ret_file->sha256, sizeof(ret_file->sha256), "%064d", 5);
    return 0;
}

void fake_backup_init(struct service *service) {
    service->backup = begin;
    service->backup_state = get;
    service->backup_open = open_file;
}
