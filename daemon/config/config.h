// SPDX-License-Identifier: Apache-2.0
/*
 * What the daemon is told: a file, then the environment, then flags; each wins over the one
 * before, option by option. A flag --model-root is the key model-root in the section [daemon] of
 * the file and QUANTD_MODEL_ROOT in the environment. An option that may be repeated is a line each
 * in the file, and separated by commas in the environment.
 */
#pragma once

#include "base/cleanup.h"
#include "base/failure.h"

#include <sched.h>
#include <stdbool.h>
#include <stdint.h>

/* Strings; owned, at[n] is not a terminator. */
struct config_list {
    char **at;
    int n;
};

struct token_row;

struct config {
    char *file;                 /* --config, NULL: none */
    char *state_dir;            /* default $STATE_DIRECTORY, then /var/lib/quantd */
    char *cache_dir;            /* default $CACHE_DIRECTORY, then /var/cache/quantd */
    struct config_list listen;  /* default the unix socket and the loopback port of api/wire.h */
    struct config_list devices; /* default auto */
    struct config_list model_roots, data_roots, mirrors, allowed_hosts, admins;
    char *hub_endpoint;   /* default $HF_ENDPOINT, then HUB_ENDPOINT */
    char *hub_cache;      /* default $HF_HUB_CACHE, $HF_HOME/hub, then CACHE_DIR/hub */
    char *hub_token_file; /* default the credential hf_token, $HF_TOKEN, $HF_TOKEN_PATH */
    char *hub_offline_text, *disk_floor_text, *cache_limit_text;
    char *hub_token; /* what was read; NULL: none */
    bool hub_offline;
    uint64_t disk_floor;  /* bytes; default 1 GiB */
    uint64_t cache_limit; /* bytes; 0: none */
    struct config_list data_sources;
    char *token_file;         /* --token-file; default the credential tokens */
    struct token_row *tokens; /* what it has (daemon/store/store.h); owned */
    int n_tokens;
    char *log_level_name;
    char *idle_text, *hang_text, *keep_days_text, *owner_jobs_text, *queue_limit_text;
    char *owner_streams_text, *worker_cpus_text;
    int log_level;         /* as syslog's */
    int idle_seconds;      /* until an idle device is given back; default 60 */
    int hang_seconds;      /* without a sign of life until a device counts as hung; default 1800 */
    int keep_days;         /* that jobs stay after their end; default 0: for ever */
    int owner_jobs;        /* of one owner that have not ended; default 100, 0: no limit */
    int queue_limit;       /* jobs that wait; default 1000, 0: no limit */
    int owner_streams;     /* event streams of one owner; default 64, 0: no limit */
    cpu_set_t worker_cpus; /* that jobs use; empty by default: as the process may */
    bool check, version, help;
};

/*
 * config_read() - read flags @argv (argv[0] is skipped), the environment @environ of KEY=VALUE
 * ending with NULL, and the file that they name. Paths become absolute; roots and mirrors must be
 * folders. With --help or --version nothing else is checked. The caller owns *ret_config.
 * Return: 0; -EINVAL: an unknown or malformed option, named; or -errno.
 */
int config_read(int argc, char *const *argv, char *const *environment, struct config **ret_config,
                struct failure *failure);
void config_free(struct config *config); /* NULL is fine */

DEFINE_CLEANUP(struct config *, config_freep, config_free)

/*
 * config_compare() - call @each with the name of every option of which @a and @b have different
 * values; hub-token-file and token-file are among them when what the file has differs.
 */
void config_compare(const struct config *a, const struct config *b,
                    void (*each)(void *ctx, const char *option), void *ctx);

/*
 * config_needs_token() - an address that other machines reach, while the configuration brings no
 * token: then the store has to have one. NULL: there is none such. Borrowed.
 */
const char *config_needs_token(const struct config *config);

/* config_usage() - the text of --help. */
extern const char config_usage[];
