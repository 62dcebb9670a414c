// SPDX-License-Identifier: Apache-2.0
/*
 * The options of the daemon, and the table of their names. read.h reads them.
 *
 * daemon/config/ may use base, daemon/access/ (the token file), daemon/data/hub/hub.h (what an
 * endpoint may be) and api/wire.h (the default addresses).
 */
#pragma once

#include "base/cleanup.h"
#include "base/failure.h"

#include <sched.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define CONFIG_OPTIONS_MAX 96
#define CONFIG_DEVICES_MAX 64 /* that --device can name */

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
    char *jobs_dir;             /* default STATE-DIR/jobs */
    struct config_list listen;  /* default the unix socket and the loopback port of api/wire.h */
    struct config_list devices; /* default auto */
    struct config_list model_roots, data_roots, mirrors, allowed_hosts, admins;
    char *hub_endpoint;   /* default $HF_ENDPOINT, then HUB_ENDPOINT */
    char *hub_cache;      /* default $HF_HUB_CACHE, $HF_HOME/hub, then CACHE_DIR/hub */
    char *hub_token_file; /* default the credential hf_token, $HF_TOKEN, $HF_TOKEN_PATH */
    char *hub_offline_text, *disk_floor_text, *cache_limit_text, *states_limit_text;
    char *hub_token; /* what was read; NULL: none */
    bool hub_offline;
    uint64_t disk_floor;   /* bytes; default 1 GiB */
    uint64_t cache_limit;  /* bytes; 0: none */
    uint64_t states_limit; /* bytes; 0: none are kept; default 8 GiB */
    struct config_list data_sources;
    struct config_list notify_hosts; /* that notifications may go to */
    char *notify_key_file, *notify_private_text;
    char *notify_key; /* what the file has; NULL: none */
    bool notify_private;
    char *notify_url, *notify_command; /* of all jobs; NULL: none */
    char *token_file;                  /* --token-file; default the credential tokens */
    struct token_row *tokens;          /* what it has (daemon/access/token_file.h); owned */
    int n_tokens;
    char *log_level_name;
    char *idle_text, *hang_text, *keep_days_text, *owner_jobs_text, *queue_limit_text;
    char *priority_limit_text;
    char *owner_streams_text, *worker_cpus_text;
    int log_level;         /* as syslog's */
    int idle_seconds;      /* until an idle device is given back; default 60 */
    int hang_seconds;      /* without a sign of life until a device counts as hung; default 1800 */
    int keep_days;         /* that jobs stay after their end; default 0: for ever */
    int owner_jobs;        /* of one owner that have not ended; default 100, 0: no limit */
    int queue_limit;       /* jobs that wait; default 1000, 0: no limit */
    int priority_limit;    /* for users other than admins; default 0 */
    int owner_streams;     /* event streams of one owner; default 64, 0: no limit */
    cpu_set_t worker_cpus; /* that jobs use; empty by default: as the process may */
    char *slurm_text, *slurm_jobs_text, *slurm_poll_text, *slurm_silence_text;
    bool slurm;      /* jobs run on a cluster too; default no */
    char *slurm_bin; /* folder of Slurm's client programs; default /usr/bin */
    char *slurm_run; /* quantd-run on the nodes; default as installed here */
    char *slurm_partition, *slurm_account, *slurm_qos, *slurm_gres; /* NULL: left out, as ... */
    char *slurm_cpus, *slurm_memory, *slurm_time;                   /* ... these */
    struct config_list slurm_options;                               /* further options of sbatch */
    int slurm_jobs;    /* on the cluster at a time; default 16 */
    int slurm_poll;    /* seconds between lists of jobs; default 30 */
    int slurm_silence; /* seconds of a run until it is reported; default 300 */
    bool check, check_cluster, version, help;
};

void config_free(struct config *config); /* NULL is fine */

DEFINE_CLEANUP(struct config *, config_freep, config_free)

/*
 * config_compare() - call @each with the name of every option of which @a and @b have different
 * values; hub-token-file, notify-key-file and token-file are among them when what the file
 * has differs.
 */
void config_compare(const struct config *a, const struct config *b,
                    void (*each)(void *ctx, const char *option), void *ctx);

/*
 * config_needs_token() - an address that other machines reach, while the configuration brings no
 * token: then the store has to have one. NULL: there is none such. Borrowed.
 */
const char *config_needs_token(const struct config *config);

enum config_kind { CONFIG_STRING, CONFIG_LIST, CONFIG_SWITCH };

/* An option: its name as a flag, without dashes, and its member of struct config. */
struct config_option {
    const char *name;
    enum config_kind kind; /* the member is a char *, a struct config_list or a bool */
    size_t offset;
    bool flag_only;
};

extern const struct config_option config_options[];
extern const int n_config_options;

/* config_list_add() - append a copy of @value to the option @name. Return: 0, -EINVAL, -ENOMEM. */
int config_list_add(struct config_list *list, const char *value, const char *name,
                    struct failure *failure);
/* config_list_clear() - free all values of the list. */
void config_list_clear(struct config_list *list);

/* config_usage() - the text of --help. */
extern const char config_usage[];
