// SPDX-License-Identifier: Apache-2.0
#include "client/verbs/queue/now.h"

static int run(struct client *client, const struct args *args, struct failure *failure) {
    (void)args;
    return now_show(client, failure);
}

const struct verb verb_ps = {
    .name = "ps",
    .usage = "",
    .summary = "show devices, running jobs and the queue",
    .details = "Times are those that earlier jobs of the same kind, model, bits and method took.\n"
               "What is not known is left out.\n",
    .run = run,
};
