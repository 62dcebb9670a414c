// SPDX-License-Identifier: Apache-2.0
#include "client/job/submit.h"

#include "base/cleanup.h"
#include "base/str.h"
#include "client/http/answer.h"
#include "client/job/estimate.h"
#include "client/job/follow.h"
#include "client/job/job.h"
#include "client/save/folder.h"
#include "client/save/one_file.h"
#include "client/screen/interrupt.h"

#include <errno.h>
#include <inttypes.h>
#include <sys/random.h>

#define TRIES_MAX 5
#define RETRY_SECONDS 1.0

/* May the same request do what this one did not? A running job may fill the disk for a moment. */
static bool may_pass(const struct failure *failure) {
    return failure &&
           (str_equal(failure->code, "connection_lost") || str_equal(failure->code, "disk_full"));
}

int submit_send(struct client *client, const char *path, const json_t *request, json_t **ret_job,
                struct failure *failure) {
    unsigned char bytes[16];
    char key[2 * sizeof(bytes) + 1];
    int r;

    if (getrandom(bytes, sizeof(bytes), 0) != (ssize_t)sizeof(bytes))
        return failure_errno(failure, -errno, "cannot draw", "a random key");
    for (size_t i = 0; i < sizeof(bytes); i++)
        snprintf(key + 2 * i, 3, "%02x", bytes[i]);
    r = http_call(client->http, "POST", path, request, key, ret_job, failure);
    for (int i = 1; r && i < TRIES_MAX && may_pass(failure); i++) {
        interrupt_sleep(RETRY_SECONDS * i);
        r = http_call(client->http, "POST", path, request, key, ret_job, failure);
    }
    return r;
}

int submit_check_save(const struct args *args, const json_t *params, struct failure *failure) {
    const char *save = args_get(args, "save");

    if (!save)
        return 0;
    if (args_has(args, "detach"))
        return failure_set(failure, -EINVAL, "usage", "use 'quantctl download ID DIR' later",
                           "options '--save' and '--detach' exclude each other");
    if (json_is_true(json_object_get(params, "plan_only")))
        return failure_set(failure, -EINVAL, "usage", "leave --plan-only or --save out",
                           "option '--save' has nothing to save: a job that only plans makes no "
                           "checkpoint");
    if (!job_makes_checkpoint(params))
        return failure_set(failure, -EINVAL, "usage",
                           "quantize with --wbits 2, 3, 4 or 8, or leave --save out",
                           "option '--save' has nothing to save: a job with 16 bits per weight "
                           "makes no checkpoint");
    if (one_file_format(save))
        return one_file_check_request(save, params, args_has(args, "force"), failure);
    return folder_check(save, args_has(args, "force"), failure);
}

int submit_check_one(const struct args *args, struct failure *failure) {
    if (!args_get(args, "save") || args->n_positional == 1)
        return 0;
    return failure_set(failure, -EINVAL, "usage", "use 'quantctl download ID DIR' for each job",
                       "option '--save' takes one job");
}

int submit_detached(struct client *client, const char *path, const json_t *request,
                    json_t **ret_job, struct failure *failure) {
    int r = submit_send(client, path, request, ret_job, failure);
    int64_t id = job_id(*ret_job);

    if (!r && !client->json)
        fprintf(client->terminal.file,
                "job %" PRId64 " is %s; follow it with: quantctl watch %" PRId64 "\n", id,
                str_equal(answer_text(*ret_job, "status"), "queued") ? "queued" : "submitted", id);
    if (!r && !client->json && answer_text(*ret_job, "warning")[0])
        fprintf(client->terminal.file, "warning: %s\n", answer_text(*ret_job, "warning"));
    return r;
}

int submit_followed(struct client *client, const struct args *args, const char *path,
                    const json_t *request, const json_t *params, json_t **ret_job,
                    struct failure *failure) {
    int r = submit_check_save(args, params, failure);

    if (!r && str_equal(path, SUBMIT_PATH))
        estimate_announce(client, request);
    if (!r && args_has(args, "detach"))
        return submit_detached(client, path, request, ret_job, failure);
    if (!r)
        r = submit_send(client, path, request, ret_job, failure);
    return r ? r
             : follow_to_the_end(client, ret_job, args_get(args, "save"), args_has(args, "force"),
                                 failure);
}

int submit_run(struct client *client, const struct args *args, const char *path,
               const json_t *request, const json_t *params, struct failure *failure) {
    cleanup(json_decrefp) json_t *job = NULL;
    int r = submit_followed(client, args, path, request, params, &job, failure);

    if (client->json && job && client_print_json(job, failure))
        return -EIO;
    return r;
}
