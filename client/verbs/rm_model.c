// SPDX-License-Identifier: Apache-2.0
#include "base/bytes.h"
#include "client/client.h"
#include "client/http/answer.h"
#include "client/screen/text.h"

#include <errno.h>
#include <string.h>

static int run(struct client *client, const struct args *args, struct failure *failure) {
    const char *model = args->positional[0], *slash = strchr(model, '/');
    cleanup(json_decrefp) json_t *removed = NULL;
    cleanup(freep) char *org = NULL;
    cleanup(freep) char *path = NULL;
    cleanup(freep) char *name = NULL;
    struct strbuf buf = {};
    char bytes[TEXT_SIZE];
    int r;

    if (!slash || slash == model || !slash[1] || strchr(slash + 1, '/'))
        return failure_set(failure, -EINVAL, "usage", "'quantctl models' lists the names",
                           "not of the form ORG/NAME: '%s'", model);
    org = strndup(model, (size_t)(slash - model));
    if (!org)
        return failure_oom(failure);
    strbuf_puts(&buf, "/v1/models/");
    text_escape(&buf, org);
    strbuf_puts(&buf, "/");
    text_escape(&buf, slash + 1);
    path = strbuf_steal(&buf);
    if (!path)
        return failure_oom(failure);
    r = http_call(client->http, "DELETE", path, NULL, NULL, &removed, failure);
    if (r)
        return r;
    if (client->json)
        return client_print_json(removed, failure);
    name = text_cleaned(answer_text(removed, "id"));
    bytes_text(answer_number(removed, "bytes"), bytes);
    fprintf(client->terminal.file, "removed %s, %s\n", name ? name : "", bytes);
    return EXIT_OK;
}

const struct verb verb_rm_model = {
    .name = "rm-model",
    .usage = "ORG/NAME",
    .summary = "remove a fetched model that no job uses",
    .least = 1,
    .most = 1,
    .run = run,
};
