// SPDX-License-Identifier: Apache-2.0
#include "daemon/config/config.h"

#include "base/macros.h"
#include "base/str.h"
#include "daemon/access/token_file.h"

#include <errno.h>
#include <string.h>

#define LIST_MAX 64

const char config_usage[] =
    "usage: quantd [OPTION]...\n"
    "Keeps a queue of jobs that quantize and evaluate OLMoE models, and runs them.\n"
    "\n"
    "  --config FILE        read options from FILE, section [daemon]: model-root = /srv/models\n"
    "  --state-dir DIR      queue, jobs and finished checkpoints (/var/lib/quantd)\n"
    "  --jobs-dir DIR       folders of jobs (STATE-DIR/jobs)\n"
    "  --cache-dir DIR      data that can be fetched again (/var/cache/quantd)\n"
    "  --listen ADDRESS     HOST:PORT or unix:PATH; may be repeated\n"
    "                       (unix:/run/quantd/quantd.sock and 127.0.0.1:7878)\n"
    "  --device DEVICE      auto, cpu, cuda:N or none; may be repeated (auto)\n"
    "  --model-root DIR     folder below which jobs find models; may be repeated\n"
    "  --data-root DIR      folder below which jobs find file:PATH data sets; may be repeated\n"
    "  --mirror DIR         local copy of public data sets; may be repeated\n"
    "  --hub-endpoint URL   hub of models and data sets (https://huggingface.co)\n"
    "  --hub-cache DIR      cache of the hub, as huggingface_hub has it (CACHE-DIR/hub)\n"
    "  --hub-token-file FILE  file with a token for gated and private models\n"
    "  --hub-offline yes    open no connection, use only what is in the cache\n"
    "  --data-source NAME=URL  other address of a data set's file; may be repeated\n"
    "  --disk-floor SIZE    space to leave free, as 500M or 10G; with less, jobs wait (1G)\n"
    "  --cache-limit SIZE   size of the cache; the longest unused models go first (no limit)\n"
    "  --states-limit SIZE  hidden states of originals to keep for later jobs; 0: none (8G)\n"
    "  --allowed-host HOST  name to accept in the header Host; may be repeated\n"
    "  --token-file FILE    file of tokens for TCP, lines of NAME ROLE [OWNER] TOKEN\n"
    "  --admin USER         user with the role admin on the unix socket; may be repeated\n"
    "  --owner-streams N    open event streams of one user; 0: any number (64)\n"
    "  --worker-cpus LIST   processors for jobs, as 1-3,8 (all that quantd may use)\n"
    "  --idle-seconds N     release an idle device after N seconds (60)\n"
    "  --hang-seconds N     a device without a sign of life for N seconds hangs (1800)\n"
    "  --keep-days N        delete jobs N days after their end; 0: never (0)\n"
    "  --owner-jobs N       waiting and running jobs of one user; 0: any number (100)\n"
    "  --queue-limit N      waiting jobs; 0: any number (1000)\n"
    "  --priority-limit N   highest priority for users other than admins (0)\n"
    "  --slurm yes          run jobs on a cluster too, by Slurm (no)\n"
    "  --slurm-bin DIR      folder of sbatch, squeue and scancel (/usr/bin)\n"
    "  --slurm-run PATH     quantd-run on the nodes (as installed here)\n"
    "  --slurm-partition, --slurm-account, --slurm-qos, --slurm-gres, --slurm-cpus,\n"
    "  --slurm-memory, --slurm-time VALUE  of each job, as sbatch takes them (left out)\n"
    "  --slurm-option OPTION  further option of sbatch; may be repeated\n"
    "  --slurm-jobs N       jobs on the cluster at a time (16)\n"
    "  --slurm-poll N       seconds between two looks at the cluster's queue (30)\n"
    "  --slurm-silence N    warn when a job there is silent for N seconds (300)\n"
    "  --notify-host HOST   host that may be notified of the end of jobs, as HOST or HOST:PORT;\n"
    "                       may be repeated (none)\n"
    "  --notify-key-file FILE  key that signs notifications\n"
    "  --notify-private yes allow http:// and private addresses\n"
    "  --notify-url URL     URL to notify of the end of every job\n"
    "  --notify-command PATH  program to run at the end of every job\n"
    "  --log-level LEVEL    error, warning, notice, info or debug (info)\n"
    "  --check-config       check the options and exit\n"
    "  --check-cluster      check the cluster too, by a trial job, and exit\n"
    "  --version            print the version and exit\n"
    "  --help               print this and exit\n"
    "\n"
    "Every option is also a variable: QUANTD_MODEL_ROOT=/a,/b. Flags take precedence over\n"
    "variables, and variables over the file.\n";

const struct config_option config_options[] = {
    {"config", CONFIG_STRING, offsetof(struct config, file), false},
    {"state-dir", CONFIG_STRING, offsetof(struct config, state_dir), false},
    {"jobs-dir", CONFIG_STRING, offsetof(struct config, jobs_dir), false},
    {"cache-dir", CONFIG_STRING, offsetof(struct config, cache_dir), false},
    {"listen", CONFIG_LIST, offsetof(struct config, listen), false},
    {"device", CONFIG_LIST, offsetof(struct config, devices), false},
    {"model-root", CONFIG_LIST, offsetof(struct config, model_roots), false},
    {"data-root", CONFIG_LIST, offsetof(struct config, data_roots), false},
    {"mirror", CONFIG_LIST, offsetof(struct config, mirrors), false},
    {"hub-endpoint", CONFIG_STRING, offsetof(struct config, hub_endpoint), false},
    {"hub-cache", CONFIG_STRING, offsetof(struct config, hub_cache), false},
    {"hub-token-file", CONFIG_STRING, offsetof(struct config, hub_token_file), false},
    {"hub-offline", CONFIG_STRING, offsetof(struct config, hub_offline_text), false},
    {"data-source", CONFIG_LIST, offsetof(struct config, data_sources), false},
    {"disk-floor", CONFIG_STRING, offsetof(struct config, disk_floor_text), false},
    {"cache-limit", CONFIG_STRING, offsetof(struct config, cache_limit_text), false},
    {"states-limit", CONFIG_STRING, offsetof(struct config, states_limit_text), false},
    {"allowed-host", CONFIG_LIST, offsetof(struct config, allowed_hosts), false},
    {"token-file", CONFIG_STRING, offsetof(struct config, token_file), false},
    {"admin", CONFIG_LIST, offsetof(struct config, admins), false},
    {"log-level", CONFIG_STRING, offsetof(struct config, log_level_name), false},
    {"owner-streams", CONFIG_STRING, offsetof(struct config, owner_streams_text), false},
    {"worker-cpus", CONFIG_STRING, offsetof(struct config, worker_cpus_text), false},
    {"idle-seconds", CONFIG_STRING, offsetof(struct config, idle_text), false},
    {"hang-seconds", CONFIG_STRING, offsetof(struct config, hang_text), false},
    {"keep-days", CONFIG_STRING, offsetof(struct config, keep_days_text), false},
    {"owner-jobs", CONFIG_STRING, offsetof(struct config, owner_jobs_text), false},
    {"queue-limit", CONFIG_STRING, offsetof(struct config, queue_limit_text), false},
    {"priority-limit", CONFIG_STRING, offsetof(struct config, priority_limit_text), false},
    {"slurm", CONFIG_STRING, offsetof(struct config, slurm_text), false},
    {"slurm-bin", CONFIG_STRING, offsetof(struct config, slurm_bin), false},
    {"slurm-run", CONFIG_STRING, offsetof(struct config, slurm_run), false},
    {"slurm-partition", CONFIG_STRING, offsetof(struct config, slurm_partition), false},
    {"slurm-account", CONFIG_STRING, offsetof(struct config, slurm_account), false},
    {"slurm-qos", CONFIG_STRING, offsetof(struct config, slurm_qos), false},
    {"slurm-gres", CONFIG_STRING, offsetof(struct config, slurm_gres), false},
    {"slurm-cpus", CONFIG_STRING, offsetof(struct config, slurm_cpus), false},
    {"slurm-memory", CONFIG_STRING, offsetof(struct config, slurm_memory), false},
    {"slurm-time", CONFIG_STRING, offsetof(struct config, slurm_time), false},
    {"slurm-option", CONFIG_LIST, offsetof(struct config, slurm_options), false},
    {"slurm-jobs", CONFIG_STRING, offsetof(struct config, slurm_jobs_text), false},
    {"slurm-poll", CONFIG_STRING, offsetof(struct config, slurm_poll_text), false},
    {"slurm-silence", CONFIG_STRING, offsetof(struct config, slurm_silence_text), false},
    {"notify-host", CONFIG_LIST, offsetof(struct config, notify_hosts), false},
    {"notify-key-file", CONFIG_STRING, offsetof(struct config, notify_key_file), false},
    {"notify-private", CONFIG_STRING, offsetof(struct config, notify_private_text), false},
    {"notify-url", CONFIG_STRING, offsetof(struct config, notify_url), false},
    {"notify-command", CONFIG_STRING, offsetof(struct config, notify_command), false},
    {"check-config", CONFIG_SWITCH, offsetof(struct config, check), true},
    {"check-cluster", CONFIG_SWITCH, offsetof(struct config, check_cluster), true},
    {"version", CONFIG_SWITCH, offsetof(struct config, version), true},
    {"help", CONFIG_SWITCH, offsetof(struct config, help), true},
};
const int n_config_options = ARRAY_SIZE(config_options);
_Static_assert(ARRAY_SIZE(config_options) <= CONFIG_OPTIONS_MAX,
               "the reader notes a source of each");

void config_list_clear(struct config_list *list) {
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
    for (size_t i = 0; i < ARRAY_SIZE(config_options); i++) {
        void *at = (char *)config + config_options[i].offset;

        if (config_options[i].kind == CONFIG_STRING)
            free(*(char **)at);
        else if (config_options[i].kind == CONFIG_LIST)
            config_list_clear(at);
    }
    free(config->hub_token);
    free(config->notify_key);
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
    for (size_t i = 0; i < ARRAY_SIZE(config_options); i++) {
        const void *x = (const char *)a + config_options[i].offset;
        const void *y = (const char *)b + config_options[i].offset;
        bool equal = true;

        if (config_options[i].kind == CONFIG_STRING)
            equal = str_equal(*(char *const *)x, *(char *const *)y);
        else if (config_options[i].kind == CONFIG_LIST)
            equal = lists_equal(x, y);
        if (str_equal(config_options[i].name, "hub-token-file"))
            equal = equal && str_equal(a->hub_token, b->hub_token);
        if (str_equal(config_options[i].name, "notify-key-file"))
            equal = equal && str_equal(a->notify_key, b->notify_key);
        if (str_equal(config_options[i].name, "token-file"))
            equal = equal && token_rows_equal(a->tokens, a->n_tokens, b->tokens, b->n_tokens);
        if (!equal)
            each(ctx, config_options[i].name);
    }
}

const char *config_needs_token(const struct config *config) {
    static const char *const local[] = {"unix:", "localhost:", "127.", "[::1]:"};

    for (int i = 0; i < config->listen.n && config->n_tokens == 0; i++) {
        bool found = false;

        for (size_t k = 0; k < ARRAY_SIZE(local); k++)
            found |= str_has_prefix(config->listen.at[i], local[k]);
        if (!found)
            return config->listen.at[i];
    }
    return NULL;
}
