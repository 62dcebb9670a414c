// SPDX-License-Identifier: Apache-2.0
#include "daemon/data/hub/resolve.h"

#include "base/json.h"
#include "base/str.h"

#include <errno.h>
#include <string.h>

#define FILES_MAX 100000
#define HEAD_SECONDS 60L

/* The names of a listing; one that could mean another place makes the whole list suspect. */
static int take_names(const json_t *siblings, const char *id, json_t **ret_names,
                      struct failure *failure) {
    cleanup(json_decrefp) json_t *names = json_object();
    json_t *item;
    size_t i;

    if (!names)
        return failure_oom(failure);
    if (!json_is_array(siblings) || json_array_size(siblings) > FILES_MAX)
        return failure_set(failure, -EPROTO, "hub_invalid", "is hub-endpoint the address of a hub?",
                           "cannot use the hub's answer about '%s': no list of files", id);
    json_array_foreach(siblings, i, item) {
        const char *name = json_string_value(json_object_get(item, "rfilename"));

        if (!name || !hub_path_valid(name))
            return failure_set(failure, -EPROTO, "hub_invalid", "do not trust this model",
                               "cannot use the hub's answer about '%s': '%.128s' is no name of a "
                               "file",
                               id, name ? name : "");
        if (json_object_set_new(names, name, json_true()))
            return failure_oom(failure);
    }
    *ret_names = steal_ptr(names);
    return 0;
}

/* The hub's 404, by the name in the request. */
static int no_model(const char *id, const char *revision, struct failure *failure) {
    return failure_set(failure, -ENOENT, "model_not_found",
                       "check the name and the revision; a private model looks like a missing one "
                       "without a token",
                       "the hub has no model '%s' at '%s'", id, revision);
}

int hub_read_revision(const json_t *info, const char *id, const char *revision,
                      char ret_commit[HUB_COMMIT_SIZE], json_t **ret_names,
                      struct failure *failure) {
    const char *commit = json_string_value(json_object_get(info, "sha"));
    int r;

    if (!commit || !hub_commit_valid(commit) ||
        (hub_commit_valid(revision) && !str_equal(commit, revision)))
        return failure_set(failure, -EPROTO, "hub_invalid", "is hub-endpoint the address of a hub?",
                           "cannot use the hub's answer about '%s': no commit", id);
    r = take_names(json_object_get(info, "siblings"), id, ret_names, failure);
    if (!r)
        snprintf(ret_commit, HUB_COMMIT_SIZE, "%s", commit);
    return r;
}

int hub_resolve_revision(struct hub_client *client, struct hub_http *http, const char *id,
                         const char *revision, char ret_commit[HUB_COMMIT_SIZE], json_t **ret_names,
                         struct failure *failure) {
    cleanup(json_decrefp) json_t *info = NULL;
    cleanup(strbuf_done) struct strbuf url = {};
    int r;

    strbuf_printf(&url, "%s/api/models/%s/revision/", client->site.endpoint, id);
    hub_escape(&url, revision);
    if (url.failed)
        return failure_oom(failure);
    r = hub_http_json(http, url.data, &info, failure);
    if (r == -ENOENT)
        return no_model(id, revision, failure);
    return r ? r : hub_read_revision(info, id, revision, ret_commit, ret_names, failure);
}

char *hub_file_url(const struct hub_client *client, enum hub_kind kind, const char *id,
                   const char *revision, const char *name) {
    struct strbuf url = {};

    strbuf_printf(&url, "%s/%s%s/resolve/", client->site.endpoint,
                  kind == HUB_DATASET ? "datasets/" : "", id);
    hub_escape(&url, revision);
    while (*name) {
        size_t n = strcspn(name, "/");
        char part[1025];

        snprintf(part, sizeof(part), "%.*s", (int)n, name);
        strbuf_puts(&url, "/");
        hub_escape(&url, part);
        name += n + (name[n] == '/');
    }
    return strbuf_steal(&url);
}

int hub_resolve_file(struct hub_http *http, const char *url, const char *name, uint64_t max,
                     bool hashed, struct hub_file *ret_file, struct failure *failure) {
    struct hub_request request = {.url = url, .head = true, .seconds = HEAD_SECONDS};
    struct hub_reply reply = {};
    int r = hub_http_ask(http, &request, &reply, failure);

    if (r)
        return r;
    if (!reply.has_size)
        return failure_set(failure, -EPROTO, "hub_invalid", "is this the address of the file?",
                           "cannot fetch '%.256s': the server does not send its size", url);
    if (reply.size > max)
        return failure_set(failure, -EFBIG, "hub_invalid",
                           "check the address: the file is larger than expected",
                           "cannot fetch '%s': %llu bytes, more than %llu", name,
                           (unsigned long long)reply.size, (unsigned long long)max);
    if (hashed && !reply.etag[0])
        return failure_set(failure, -EPROTO, "hub_invalid",
                           "is hub-endpoint the address of a hub? quantd uses no file that it "
                           "cannot verify",
                           "cannot fetch '%.256s': the server does not send its hash", url);
    *ret_file = (struct hub_file){.name = name, .size = reply.size};
    memcpy(ret_file->commit, reply.commit, sizeof(reply.commit));
    memcpy(ret_file->etag, reply.etag, sizeof(reply.etag));
    return 0;
}
