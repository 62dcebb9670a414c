// SPDX-License-Identifier: Apache-2.0
#include "client/client.h"
#include "client/http/answer.h"
#include "client/screen/text.h"

static int run(struct client *client, const struct args *args, struct failure *failure) {
    cleanup(json_decrefp) json_t *answer = NULL;
    cleanup(freep) char *version = NULL;
    struct failure why = {};
    int r;

    (void)args;
    r = http_get(client->http, "/v1/version", &answer, &why);
    if (client->json) {
        cleanup(json_decrefp) json_t *both =
            json_pack("{s:s s:s s:o}", "quantctl", QUANTD_VERSION, "server",
                      http_server(client->http), "quantd", r ? json_null() : json_incref(answer));

        return both ? client_print_json(both, failure) : failure_oom(failure);
    }
    fprintf(client->terminal.file, "quantctl %s\n", QUANTD_VERSION);
    if (r) {
        fprintf(client->terminal.file, "quantd: %s\n", why.detail);
        return EXIT_OK;
    }
    version = text_cleaned(answer_text(answer, "version"));
    fprintf(client->terminal.file, "quantd %s at %s\n", version && version[0] ? version : "?",
            http_server(client->http));
    return EXIT_OK;
}

const struct verb verb_version = {
    .name = "version",
    .usage = "",
    .summary = "print the versions of quantctl and quantd",
    .run = run,
};
