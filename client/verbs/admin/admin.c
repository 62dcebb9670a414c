// SPDX-License-Identifier: Apache-2.0
#include "client/verbs/admin/admin.h"

#include "base/macros.h"
#include "base/str.h"

#include <errno.h>

static const struct arg_option options[] = {
    {"all", NULL, "adopt all folders that can be adopted"},
    {"owner", "NAME", "the owner of the adopted jobs; you, by default"},
};

static int run_backup(struct client *client, const struct args *args, struct failure *failure) {
    if (args_has(args, "all") || args_has(args, "owner") || args->n_positional > 2)
        return failure_set(failure, -EINVAL, "usage", "use quantctl admin backup [FILE]",
                           "'admin backup' takes one file and no options");
    return admin_backup(client, args, failure);
}

static int run(struct client *client, const struct args *args, struct failure *failure) {
    if (str_equal(args->positional[0], "backup"))
        return run_backup(client, args, failure);
    if (str_equal(args->positional[0], "adopt"))
        return admin_adopt(client, args, failure);
    return failure_set(failure, -EINVAL, "usage", "use quantctl admin backup, or admin adopt",
                       "unknown command '%s'", args->positional[0]);
}

const struct verb verb_admin = {
    .name = "admin",
    .usage = "ACTION [ARG...]",
    .summary = "back up the database, adopt folders without a job",
    .details = "backup [FILE] copies the database of quantd while it runs. Without FILE the\n"
               "backup stays with the daemon, in STATE-DIR/backups, which keeps the newest\n"
               "three. With FILE it is downloaded too; if FILE is a folder, the file in it is\n"
               "named by the time. No file is replaced. Checkpoints are not included.\n"
               "\n"
               "adopt lists the folders in STATE-DIR/jobs that have no job, because the\n"
               "database was lost or is older than they are. adopt ID... makes them jobs again,\n"
               "with their numbers, after it has checked every file: private jobs of NAME.\n",
    .table = {options, ARRAY_SIZE(options)},
    .least = 1,
    .most = ARGS_POSITIONAL_MAX,
    .run = run,
};
