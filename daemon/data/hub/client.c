// SPDX-License-Identifier: Apache-2.0
#include "daemon/data/hub/client.h"

#include "base/file.h"
#include "base/json.h"
#include "base/str.h"

#include <curl/curl.h>
#include <errno.h>
#include <string.h>

#define RETRY_SECONDS 0.5
#define SILENCE_SECONDS 30
#define PART_SIZE ((uint64_t)16 << 20)

void hub_close(struct hub_client *client) {
    if (!client)
        return;
    task_finish(&client->contact.look_up);
    free(client->site.endpoint);
    free(client->site.origin);
    free(client->site.token);
    free(client->cache_dir);
    free(client->own_dir);
    for (int i = 0; i < CATALOG_FILES; i++)
        free(client->sources[i]);
    pthread_mutex_destroy(&client->hold);
    pthread_mutex_destroy(&client->contact.lock);
    free(client);
}

int hub_check_endpoint(const char *endpoint, struct failure *failure) {
    struct hub_site any = {.plain = true};

    if (!hub_site_check(&any, endpoint, NULL) && !strchr(endpoint, '?') && !strchr(endpoint, '#'))
        return 0;
    return failure_set(failure, -EINVAL, "config_invalid",
                       "the form is https://HOST; http:// only on loopback",
                       "invalid hub-endpoint '%s'", endpoint);
}

/* NAME=URL: the file of the catalog, and its URL. */
static int read_source(const char *source, enum catalog_id *ret_id, const char **ret_url,
                       struct failure *failure) {
    const char *equals = strchr(source, '=');
    struct hub_site any = {.plain = true};
    int id = 0;

    while (equals && id < CATALOG_FILES &&
           (strlen(catalog[id].name) != (size_t)(equals - source) ||
            strncmp(catalog[id].name, source, (size_t)(equals - source)) != 0))
        id++;
    if (!equals || id == CATALOG_FILES)
        return failure_set(failure, -EINVAL, "config_invalid",
                           "the form is NAME=URL, NAME one of wikitext2, ptb.train, ptb.valid, "
                           "ptb.test, c4.train, c4.validation",
                           "invalid data-source '%s'", source);
    if (hub_site_check(&any, equals + 1, NULL))
        return failure_set(failure, -EINVAL, "config_invalid",
                           "an address begins with https://; http:// only on loopback",
                           "invalid data-source '%s'", source);
    *ret_id = id;
    *ret_url = equals + 1;
    return 0;
}

int hub_check_source(const char *source, struct failure *failure) {
    enum catalog_id id;
    const char *url;

    return read_source(source, &id, &url, failure);
}

static int take_strings(struct hub_client *client, const struct hub_config *config) {
    const char *endpoint = config->endpoint ? config->endpoint : HUB_ENDPOINT;

    client->site.endpoint = strdup(endpoint);
    client->cache_dir = strdup(config->cache_dir);
    client->own_dir = strdup(config->own_dir);
    if (!client->site.endpoint || !client->cache_dir || !client->own_dir)
        return -ENOMEM;
    for (size_t n = strlen(endpoint); n > 0 && endpoint[n - 1] == '/'; n--)
        client->site.endpoint[n - 1] = '\0';
    if (config->token && config->token[0] && !(client->site.token = strdup(config->token)))
        return -ENOMEM;
    client->site.origin = hub_origin(client->site.endpoint);
    return client->site.origin ? 0 : -ENOMEM;
}

/* A token becomes a header: no line of another one may hide in it. */
static int check_token(const char *token, struct failure *failure) {
    for (const char *at = token; at && *at; at++)
        if (*at <= ' ' || *at > '~')
            return failure_set(failure, -EINVAL, "config_invalid", NULL,
                               "the token of the hub has invalid characters");
    return 0;
}

static int make_folders(const struct hub_client *client, struct failure *failure) {
    static const char *const below[] = {"files", "used"};
    int r = dir_make(client->cache_dir);

    for (size_t i = 0; i < 2 && !r; i++) {
        cleanup(freep) char *path = str_format("%s/%s", client->own_dir, below[i]);

        r = path ? dir_make(path) : -ENOMEM;
    }
    return r ? failure_errno(failure, r, "cannot make the folders of", client->cache_dir) : 0;
}

int hub_open(const struct hub_config *config, struct hub_client **ret_client,
             struct failure *failure) {
    cleanup(hub_closep) struct hub_client *client = calloc(1, sizeof(*client));
    enum catalog_id id;
    const char *url;
    int r;

    if (!client)
        return failure_oom(failure);
    pthread_mutex_init(&client->hold, NULL);
    pthread_mutex_init(&client->contact.lock, NULL);
    client->site.contact = &client->contact;
    if (curl_global_init(CURL_GLOBAL_DEFAULT))
        return failure_set(failure, -ENOTSUP, "internal", NULL, "cannot initialise libcurl");
    r = hub_check_endpoint(config->endpoint ? config->endpoint : HUB_ENDPOINT, failure);
    if (!r)
        r = check_token(config->token, failure);
    if (r)
        return r;
    if (take_strings(client, config))
        return failure_oom(failure);
    client->site.plain = hub_is_plain(client->site.endpoint);
    client->site.retry_seconds = config->retry_seconds ? config->retry_seconds : RETRY_SECONDS;
    client->site.silence_seconds =
        config->silence_seconds ? config->silence_seconds : SILENCE_SECONDS;
    client->part_size = config->part_size ? config->part_size : PART_SIZE;
    client->offline = config->offline;
    client->disk_floor = config->disk_floor;
    client->cache_limit = config->cache_limit;
    client->pinned = config->pinned;
    client->ctx = config->ctx;
    for (int i = 0; i < config->n_sources && !r; i++) {
        r = read_source(config->sources[i], &id, &url, failure);
        if (r)
            return r;
        free(client->sources[id]);
        client->sources[id] = strdup(url);
        /* An operator who names a loopback address wants it asked. */
        client->site.plain = client->site.plain || hub_is_plain(url);
        if (!client->sources[id])
            return failure_oom(failure);
    }
    r = make_folders(client, failure);
    if (r)
        return r;
    hub_look_around(client);
    *ret_client = steal_ptr(client);
    return 0;
}

void hub_set_limits(struct hub_client *client, uint64_t disk_floor, uint64_t cache_limit) {
    client->disk_floor = disk_floor;
    client->cache_limit = cache_limit;
}

uint64_t hub_cache_limit(const struct hub_client *client) {
    return client->cache_limit;
}

bool hub_is_offline(const struct hub_client *client) {
    return client->offline;
}

json_t *hub_describe(struct hub_client *client) {
    struct hub_contact *contact = &client->contact;
    json_t *object;

    pthread_mutex_lock(&contact->lock);
    object = json_pack("{ss sb so so ss*}", "endpoint", client->site.endpoint, "offline",
                       client->offline, "answered_at", json_time(contact->answered_at), "failed_at",
                       json_time(contact->failed_at), "error",
                       contact->failed_at ? contact->error : NULL);
    pthread_mutex_unlock(&contact->lock);
    return object;
}

void hub_hold(struct hub_client *client) {
    pthread_mutex_lock(&client->hold);
}

void hub_release(struct hub_client *client) {
    pthread_mutex_unlock(&client->hold);
}
