// SPDX-License-Identifier: Apache-2.0
#include "daemon/config/config.h"

#include "base/macros.h"
#include "base/str.h"
#include "daemon/config/check.h"
#include "daemon/config/hub.h"
#include "daemon/config/tokens.h"

#include <ctype.h>
#include <errno.h>
#include <ini.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#define SECTION "daemon"
#define LIST_MAX 64

const char config_usage[] =
    "usage: quantd [OPTION]...\n"
    "Queues GPTQ quantization and evaluation jobs of OLMoE models and runs them.\n"
    "\n"
    "  --config FILE        read options from FILE, section [daemon]: model-root = /srv/models\n"
    "  --state-dir DIR      queue, jobs and finished checkpoints (/var/lib/quantd)\n"
    "  --cache-dir DIR      what can be fetched again (/var/cache/quantd)\n"
    "  --listen ADDRESS     HOST:PORT or unix:PATH; may be repeated\n"
    "                       (unix:/run/quantd/quantd.sock and 127.0.0.1:7878)\n"
    "  --device DEVICE      auto, cpu or cuda:N; repeated for several devices (auto)\n"
    "  --model-root DIR     folder below which jobs find models; may be repeated\n"
    "  --data-root DIR      folder below which jobs find file:PATH data sets; may be repeated\n"
    "  --mirror DIR         local copy of public data sets by URL path; may be repeated\n"
    "  --hub-endpoint URL   hub that models and data sets come from (https://huggingface.co)\n"
    "  --hub-cache DIR      its cache, in the Hugging Face layout (CACHE-DIR/hub)\n"
    "  --hub-token-file FILE  token for gated and private models\n"
    "  --hub-offline yes    open no connection, use what is in the cache\n"
    "  --data-source NAME=URL  another address of a data set's file; may be repeated\n"
    "  --disk-floor SIZE    leave so much free; with less, jobs wait: 500M, 10G (1G)\n"
    "  --cache-limit SIZE   keep models of so much, remove the longest unused (no limit)\n"
    "  --allowed-host HOST  Host header to answer beside loopback names; may be repeated\n"
    "  --token-file FILE    tokens for TCP, a line each: NAME ROLE [OWNER] TOKEN\n"
    "  --admin USER         may do everything on the unix socket, as root may; may be repeated\n"
    "  --owner-streams N    event streams that one user may have open; 0: any number (64)\n"
    "  --worker-cpus LIST   processors that jobs use, as 1-3,8 (all that quantd may use)\n"
    "  --idle-seconds N     give an idle device back after N seconds (60)\n"
    "  --hang-seconds N     a device that is silent for N seconds hangs (1800)\n"
    "  --keep-days N        delete jobs N days after their end; 0: never (0)\n"
    "  --owner-jobs N       jobs of one user that have not ended; 0: any number (100)\n"
    "  --queue-limit N      jobs that wait; 0: any number (1000)\n"
    "  --log-level LEVEL    error, warning, notice, info or debug (info)\n"
    "  --check-config       check the options and exit\n"
    "  --version            print the version and exit\n"
    "  --help               print this and exit\n"
    "\n"
    "Every option is also a variable: QUANTD_MODEL_ROOT=/a,/b. Flags win over variables, and\n"
    "these over the file.\n";

enum source { SOURCE_NONE, SOURCE_FILE, SOURCE_ENVIRONMENT, SOURCE_FLAG };

enum kind { KIND_STRING, KIND_LIST, KIND_SWITCH };

static const struct option {
    const char *name;
    enum kind kind;
    size_t offset;
    bool flag_only;
} options[] = {
    {"config", KIND_STRING, offsetof(struct config, file), false},
    {"state-dir", KIND_STRING, offsetof(struct config, state_dir), false},
    {"cache-dir", KIND_STRING, offsetof(struct config, cache_dir), false},
    {"listen", KIND_LIST, offsetof(struct config, listen), false},
    {"device", KIND_LIST, offsetof(struct config, devices), false},
    {"model-root", KIND_LIST, offsetof(struct config, model_roots), false},
    {"data-root", KIND_LIST, offsetof(struct config, data_roots), false},
    {"mirror", KIND_LIST, offsetof(struct config, mirrors), false},
    {"hub-endpoint", KIND_STRING, offsetof(struct config, hub_endpoint), false},
    {"hub-cache", KIND_STRING, offsetof(struct config, hub_cache), false},
    {"hub-token-file", KIND_STRING, offsetof(struct config, hub_token_file), false},
    {"hub-offline", KIND_STRING, offsetof(struct config, hub_offline_text), false},
    {"data-source", KIND_LIST, offsetof(struct config, data_sources), false},
    {"disk-floor", KIND_STRING, offsetof(struct config, disk_floor_text), false},
    {"cache-limit", KIND_STRING, offsetof(struct config, cache_limit_text), false},
    {"allowed-host", KIND_LIST, offsetof(struct config, allowed_hosts), false},
    {"token-file", KIND_STRING, offsetof(struct config, token_file), false},
    {"admin", KIND_LIST, offsetof(struct config, admins), false},
    {"log-level", KIND_STRING, offsetof(struct config, log_level_name), false},
    {"owner-streams", KIND_STRING, offsetof(struct config, owner_streams_text), false},
    {"worker-cpus", KIND_STRING, offsetof(struct config, worker_cpus_text), false},
    {"idle-seconds", KIND_STRING, offsetof(struct config, idle_text), false},
    {"hang-seconds", KIND_STRING, offsetof(struct config, hang_text), false},
    {"keep-days", KIND_STRING, offsetof(struct config, keep_days_text), false},
    {"owner-jobs", KIND_STRING, offsetof(struct config, owner_jobs_text), false},
    {"queue-limit", KIND_STRING, offsetof(struct config, queue_limit_text), false},
    {"check-config", KIND_SWITCH, offsetof(struct config, check), true},
    {"version", KIND_SWITCH, offsetof(struct config, version), true},
    {"help", KIND_SWITCH, offsetof(struct config, help), true},
};

/* Reading in progress: where each option's value came from. */
struct reader {
    struct config *config;
    enum source sources[ARRAY_SIZE(options)];
    struct failure *failure;
    int r;
};

static void list_clear(struct config_list *list) {
    for (int i = 0; i < list->n; i++)
        free(list->at[i]);
    free(list->at);
    *list = (struct config_list){};
}

int config_list_add(struct config_list *list, const char *value, const char *name,
                    struct failure *failure) {
    char **at;

    if (list->n == LIST_MAX)
        return failure_set(failure, -EINVAL, "config_invalid", NULL,
                           "option '%s' is given more than %d times", name, LIST_MAX);
    at = realloc(list->at, (list->n + 1) * sizeof(*at));
    if (!at)
        return failure_oom(failure);
    list->at = at;
    at[list->n] = strdup(value);
    if (!at[list->n])
        return failure_oom(failure);
    list->n++;
    return 0;
}

void config_free(struct config *config) {
    if (!config)
        return;
    for (size_t i = 0; i < ARRAY_SIZE(options); i++) {
        void *at = (char *)config + options[i].offset;

        if (options[i].kind == KIND_STRING)
            free(*(char **)at);
        else if (options[i].kind == KIND_LIST)
            list_clear(at);
    }
    free(config->hub_token);
    free(config->tokens);
    free(config);
}

static bool lists_equal(const struct config_list *a, const struct config_list *b) {
    for (int i = 0; i < MIN(a->n, b->n); i++) {
        if (!str_equal(a->at[i], b->at[i]))
            return false;
    }
    return a->n == b->n;
}

void config_compare(const struct config *a, const struct config *b,
                    void (*each)(void *ctx, const char *option), void *ctx) {
    for (size_t i = 0; i < ARRAY_SIZE(options); i++) {
        const void *x = (const char *)a + options[i].offset;
        const void *y = (const char *)b + options[i].offset;
        bool equal = true;

        if (options[i].kind == KIND_STRING)
            equal = str_equal(*(char *const *)x, *(char *const *)y);
        else if (options[i].kind == KIND_LIST)
            equal = lists_equal(x, y);
        if (str_equal(options[i].name, "hub-token-file"))
            equal = equal && str_equal(a->hub_token, b->hub_token);
        if (str_equal(options[i].name, "token-file"))
            equal = equal && config_same_tokens(a, b);
        if (!equal)
            each(ctx, options[i].name);
    }
}

static int find_option(const char *name, size_t size) {
    for (size_t i = 0; i < ARRAY_SIZE(options); i++) {
        if (strlen(options[i].name) == size && !strncmp(options[i].name, name, size))
            return (int)i;
    }
    return -1;
}

/* Gives option @i a value, unless a stronger source already did. */
static int set(struct reader *reader, int i, enum source source, const char *value) {
    const struct option *option = &options[i];
    void *at = (char *)reader->config + option->offset;
    char *copy;

    if (source < reader->sources[i])
        return 0;
    if (!value[0])
        return failure_set(reader->failure, -EINVAL, "config_invalid", NULL,
                           "option '%s' has no value", option->name);
    if (option->kind == KIND_LIST) {
        if (source > reader->sources[i])
            list_clear(at);
        reader->sources[i] = source;
        return config_list_add(at, value, option->name, reader->failure);
    }
    copy = strdup(value);
    if (!copy)
        return failure_oom(reader->failure);
    free(*(char **)at);
    *(char **)at = copy;
    reader->sources[i] = source;
    return 0;
}

static int read_flags(struct reader *reader, int argc, char *const *argv) {
    for (int k = 1; k < argc; k++) {
        const char *name = argv[k] + 2, *equals = strchr(argv[k], '='), *value = NULL;
        int i = -1, r;

        if (str_has_prefix(argv[k], "--"))
            i = find_option(name, equals ? (size_t)(equals - name) : strlen(name));
        if (i < 0)
            return failure_set(reader->failure, -EINVAL, "config_invalid",
                               "quantd --help lists the options", "unknown option '%s'", argv[k]);
        if (options[i].kind == KIND_SWITCH) {
            if (equals)
                return failure_set(reader->failure, -EINVAL, "config_invalid", NULL,
                                   "option '--%s' takes no value", options[i].name);
            *(bool *)((char *)reader->config + options[i].offset) = true;
            continue;
        }
        value = equals ? equals + 1 : argv[++k];
        if (!value)
            return failure_set(reader->failure, -EINVAL, "config_invalid", NULL,
                               "option '--%s' needs a value", options[i].name);
        r = set(reader, i, SOURCE_FLAG, value);
        if (r)
            return r;
    }
    return 0;
}

/* The value of QUANTD_NAME in @environment, or NULL. */
static const char *variable(char *const *environment, const char *prefix, const char *name) {
    size_t n = strlen(prefix);

    for (; *environment; environment++) {
        const char *at = *environment + n;
        size_t i = 0;

        if (strncmp(*environment, prefix, n))
            continue;
        while (name[i] && at[i] == (name[i] == '-' ? '_' : toupper((unsigned char)name[i])))
            i++;
        if (!name[i] && at[i] == '=')
            return at + i + 1;
    }
    return NULL;
}

static int read_variables(struct reader *reader, char *const *environment) {
    for (size_t i = 0; i < ARRAY_SIZE(options); i++) {
        const char *value = variable(environment, "QUANTD_", options[i].name);
        cleanup(freep) char *copy = NULL;
        char *rest = NULL;
        int r = 0;

        if (!value || options[i].flag_only)
            continue;
        if (options[i].kind != KIND_LIST) {
            r = set(reader, (int)i, SOURCE_ENVIRONMENT, value);
        } else {
            copy = strdup(value);
            if (!copy)
                return failure_oom(reader->failure);
            for (char *at = strtok_r(copy, ",", &rest); at && !r; at = strtok_r(NULL, ",", &rest))
                r = set(reader, (int)i, SOURCE_ENVIRONMENT, at);
        }
        if (r)
            return r;
    }
    return 0;
}

/* One line of the file. inih goes on after an error; the first one is kept. */
static int on_line(void *ctx, const char *section, const char *name, const char *value) {
    struct reader *reader = ctx;
    int i = find_option(name, strlen(name));

    if (reader->r)
        return 0;
    if (!str_equal(section, SECTION))
        reader->r = failure_set(reader->failure, -EINVAL, "config_invalid",
                                "options belong into the section [" SECTION "]",
                                "unknown section '[%s]' in '%s'", section, reader->config->file);
    else if (i < 0 || options[i].flag_only || str_equal(name, "config"))
        reader->r = failure_set(reader->failure, -EINVAL, "config_invalid",
                                "the keys are the flags of quantd --help, without the dashes",
                                "unknown key '%s' in '%s'", name, reader->config->file);
    else
        reader->r = set(reader, i, SOURCE_FILE, value);
    return !reader->r;
}

static int read_file(struct reader *reader) {
    const char *file = reader->config->file;
    int line;

    if (!file)
        return 0;
    errno = 0;
    line = ini_parse(file, on_line, reader);
    if (line == -1)
        return failure_errno(reader->failure, errno ? -errno : -EIO, "cannot read", file);
    if (reader->r)
        return reader->r;
    if (line)
        return failure_set(reader->failure, -EINVAL, "config_invalid", "write KEY = VALUE",
                           "cannot read '%s': line %d is malformed or too long", file, line);
    return 0;
}

int config_read(int argc, char *const *argv, char *const *environment, struct config **ret_config,
                struct failure *failure) {
    cleanup(config_freep) struct config *config = calloc(1, sizeof(*config));
    struct reader reader = {.config = config, .failure = failure};
    int r;

    if (!config)
        return failure_oom(failure);
    r = read_flags(&reader, argc, argv);
    if (!r && !config->help && !config->version) {
        r = read_variables(&reader, environment);
        if (!r)
            r = read_file(&reader);
        if (!r)
            r = config_check(config, variable(environment, "", "state-directory"),
                             variable(environment, "", "cache-directory"), failure);
        if (!r)
            r = config_hub(config, environment, failure);
        if (!r)
            r = config_tokens(config, variable(environment, "", "credentials-directory"), failure);
    }
    if (r)
        return r;

    *ret_config = steal_ptr(config);
    return 0;
}
