// SPDX-License-Identifier: Apache-2.0
#include "daemon/config/hub.h"

#include "base/file.h"
#include "base/macros.h"
#include "base/str.h"
#include "daemon/data/hub/hub.h"

#include <errno.h>
#include <string.h>
#include <strings.h>

#define TOKEN_MAX 4096
#define FLOOR_DEFAULT ((uint64_t)1 << 30)
#define STATES_DEFAULT ((uint64_t)8 << 30)

static const char *variable(char *const *environment, const char *name) {
    size_t n = strlen(name);

    for (; *environment; environment++)
        if (!strncmp(*environment, name, n) && (*environment)[n] == '=' && (*environment)[n + 1])
            return *environment + n + 1;
    return NULL;
}

/* A number of bytes: 500M, 10G, 2T. */
static int parse_size(const char *text, const char *option, uint64_t otherwise, uint64_t *ret_size,
                      struct failure *failure) {
    static const char units[] = "KMGT";
    size_t n = text ? strlen(text) : 0;
    const char *unit = n ? strchr(units, text[n - 1]) : NULL;
    cleanup(freep) char *digits = text ? strndup(text, unit ? n - 1 : n) : NULL;
    uint64_t size;
    int shift = unit ? 10 * (int)(unit - units + 1) : 0;

    *ret_size = otherwise;
    if (!text)
        return 0;
    if (!digits)
        return failure_oom(failure);
    if (str_parse_u64(digits, (uint64_t)INT64_MAX >> shift, &size))
        return failure_set(failure, -EINVAL, "config_invalid", "the form is 500M, 10G or 2T",
                           "invalid %s '%s': it is no number of bytes", option, text);
    *ret_size = size << shift;
    return 0;
}

int config_switch(const char *option, const char *text, bool *ret_on, struct failure *failure) {
    static const struct {
        const char *text;
        bool on;
    } words[] = {{"1", true},  {"true", true},   {"yes", true}, {"on", true},
                 {"0", false}, {"false", false}, {"no", false}, {"off", false}};

    for (size_t i = 0; i < ARRAY_SIZE(words); i++) {
        if (!strcasecmp(text, words[i].text)) {
            *ret_on = words[i].on;
            return 0;
        }
    }
    return failure_set(failure, -EINVAL, "config_invalid", NULL,
                       "invalid %s '%s': it is neither yes nor no", option, text);
}

/* The first line of the file, which may be missing unless it is @named. */
static int read_token(struct config *config, const char *path, bool named,
                      struct failure *failure) {
    cleanup(freep) char *text = NULL;
    size_t size;
    int r = file_read(path, TOKEN_MAX, &text, &size);

    if (r == -ENOENT && !named)
        return 0;
    if (r)
        return failure_errno(failure, r, "cannot read the token", path);
    text[strcspn(text, "\r\n")] = '\0';
    free(config->hub_token);
    config->hub_token = text[0] ? steal_ptr(text) : NULL;
    return 0;
}

static int find_token(struct config *config, char *const *environment, struct failure *failure) {
    const char *credentials = variable(environment, "CREDENTIALS_DIRECTORY");
    const char *token = variable(environment, "HF_TOKEN");
    const char *path = variable(environment, "HF_TOKEN_PATH");
    const char *home = variable(environment, "HF_HOME");
    cleanup(freep) char *credential = str_format("%s/hf_token", credentials ? credentials : "");
    cleanup(freep) char *usual = str_format("%s/token", home ? home : "");
    int r = 0;

    if (!credential || !usual)
        return failure_oom(failure);
    if (config->hub_token_file)
        return read_token(config, config->hub_token_file, true, failure);
    if (credentials)
        r = read_token(config, credential, false, failure);
    if (r || config->hub_token)
        return r;
    if (token) {
        config->hub_token = strdup(token);
        return config->hub_token ? 0 : failure_oom(failure);
    }
    if (path)
        return read_token(config, path, true, failure);
    return home ? read_token(config, usual, false, failure) : 0;
}

/* The folder of the Hugging Face cache: asked for, theirs, or one of our own. */
static int find_cache(struct config *config, char *const *environment, struct failure *failure) {
    const char *cache = variable(environment, "HF_HUB_CACHE");
    const char *home = variable(environment, "HF_HOME");

    if (config->hub_cache)
        return 0;
    config->hub_cache = cache  ? strdup(cache)
                        : home ? str_format("%s/hub", home)
                               : str_format("%s/hub", config->cache_dir);
    return config->hub_cache ? 0 : failure_oom(failure);
}

static int make_absolute(char **path, struct failure *failure) {
    cleanup(freep) char *here = NULL;
    char *absolute;

    if ((*path)[0] == '/')
        return 0;
    here = getcwd(NULL, 0);
    absolute = here ? str_format("%s/%s", here, *path) : NULL;
    if (!absolute)
        return failure_oom(failure);
    free(*path);
    *path = absolute;
    return 0;
}

int config_hub(struct config *config, char *const *environment, struct failure *failure) {
    const char *endpoint = variable(environment, "HF_ENDPOINT");
    const char *offline = variable(environment, "HF_HUB_OFFLINE");
    int r;

    if (!config->hub_endpoint)
        config->hub_endpoint = strdup(endpoint ? endpoint : HUB_ENDPOINT);
    if (!config->hub_endpoint)
        return failure_oom(failure);
    if (config->hub_offline_text || offline) {
        r = config_switch("hub-offline",
                          config->hub_offline_text ? config->hub_offline_text : offline,
                          &config->hub_offline, failure);
        if (r)
            return r;
    }
    r = hub_check_endpoint(config->hub_endpoint, failure);
    for (int i = 0; i < config->data_sources.n && !r; i++)
        r = hub_check_source(config->data_sources.at[i], failure);
    if (!r)
        r = find_cache(config, environment, failure);
    if (!r)
        r = make_absolute(&config->hub_cache, failure);
    if (!r)
        r = parse_size(config->disk_floor_text, "disk-floor", FLOOR_DEFAULT, &config->disk_floor,
                       failure);
    if (!r)
        r = parse_size(config->cache_limit_text, "cache-limit", 0, &config->cache_limit, failure);
    if (!r)
        r = parse_size(config->states_limit_text, "states-limit", STATES_DEFAULT,
                       &config->states_limit, failure);
    return r ? r : find_token(config, environment, failure);
}
