// SPDX-License-Identifier: Apache-2.0
#include "daemon/executor/slurm/site.h"

#include "base/file.h"
#include "base/json.h"
#include "base/str.h"
#include "daemon/executor/leftover.h"
#include "daemon/executor/original.h"
#include "daemon/jobdir/fence.h"
#include "daemon/jobdir/job_file.h"

#include <errno.h>
#include <inttypes.h>
#include <pwd.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <unistd.h>

#define OPTIONS_MAX 128
#define LINE_MAX_BYTES 4096 /* of the line that runs quantd-run */

/* -------- setting up -------- */

static const char *const programs[] = {"sbatch", "squeue", "scancel"};

static int check_programs(const struct config *config, struct failure *failure) {
    for (size_t i = 0; i < ARRAY_SIZE(programs); i++) {
        cleanup(freep) char *path = str_format("%s/%s", config->slurm_bin, programs[i]);

        if (!path)
            return failure_oom(failure);
        if (access(path, X_OK))
            return failure_set(failure, -EINVAL, "config_invalid",
                               "install the client programs of Slurm, name their folder by "
                               "slurm-bin, or set slurm = no",
                               "cannot run '%s': %s", path, strerror(errno));
    }
    return 0;
}

static int add_variable(struct site *site, const char *name, const char *value) {
    int i = 0;

    if (!value)
        return 0;
    while (site->environment[i])
        i++;
    site->environment[i] = str_format("%s=%s", name, value);
    return site->environment[i] ? 0 : -ENOMEM;
}

/* Made anew: SBATCH_* and SQUEUE_* of whoever started quantd would change what the programs do. */
static int make_environment(struct site *site) {
    const struct passwd *user = getpwuid(getuid());

    return add_variable(site, "PATH",
                        "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin") ||
                   add_variable(site, "LC_ALL", "C") ||
                   add_variable(site, "HOME", user ? user->pw_dir : "/") ||
                   add_variable(site, "USER", user ? user->pw_name : NULL) ||
                   add_variable(site, "LOGNAME", user ? user->pw_name : NULL) ||
                   add_variable(site, "SLURM_CONF", getenv("SLURM_CONF")) ||
                   add_variable(site, "TZ", getenv("TZ"))
               ? -ENOMEM
               : 0;
}

int site_init(struct site *site, const struct config *config, struct store *store,
              struct failure *failure) {
    int r;

    *site = (struct site){.config = config, .bin = config->slurm_bin};
    snprintf(site->uid, sizeof(site->uid), "%u", (unsigned)getuid());
    r = check_programs(config, failure);
    if (!r && make_environment(site))
        r = failure_oom(failure);
    snprintf(site->instance, sizeof(site->instance), "trial");
    if (!r && store)
        r = store_begin(store, STORE_READ, failure);
    if (r || !store)
        return r;
    r = store_instance(store, site->instance);
    return store_end(store, r, failure);
}

void site_done(struct site *site) {
    for (int i = 0; i < SITE_ENVIRONMENT_MAX; i++) {
        free(site->environment[i]);
        site->environment[i] = NULL;
    }
}

void site_job_name(const struct site *site, int64_t id, const char *nonce,
                   char name[SLURM_NAME_MAX]) {
    snprintf(name, SLURM_NAME_MAX, "quantd-%s-%" PRId64 "-%s", site->instance, id, nonce);
}

int site_make_nonce(char nonce[RUN_NONCE_SIZE]) {
    uint64_t random;

    if (getrandom(&random, sizeof(random), 0) != (ssize_t)sizeof(random))
        return -EIO;
    snprintf(nonce, RUN_NONCE_SIZE, "%016" PRIx64, random);
    return 0;
}

/* -------- the folder -------- */

/* {"HOST/PATH": path} of the files that the job reads. */
static json_t *list_files(struct jobs *jobs, const struct params *params, enum job_kind kind) {
    cleanup(json_decrefp) json_t *files = json_object();
    bool needed[CATALOG_FILES];

    jobs_files(params, kind, needed);
    for (int i = 0; i < CATALOG_FILES; i++) {
        cleanup(freep) char *key = NULL, *path = NULL;

        if (!needed[i] || !jobs->source ||
            jobs->source->fetch(jobs->source, catalog[i].host, catalog[i].path, &path, NULL))
            continue;
        key = str_format("%s/%s", catalog[i].host, catalog[i].path);
        if (!key || json_object_set_new(files, key, json_string(path)))
            return NULL;
    }
    return steal_ptr(files);
}

static int write_job_file(struct jobs *jobs, const struct corpora *corpora,
                          const struct job_row *row, const char *dir, struct failure *failure) {
    cleanup(params_freep) struct params *params = NULL;
    cleanup(original_done) struct named_original named = {};
    cleanup(json_decrefp) json_t *files = NULL;
    cleanup(freep) char *root = NULL;
    struct job_file_spec spec = {.id = row->id,
                                 .kind = row->kind,
                                 .request = row->request,
                                 .model_dir = row->model_dir,
                                 .data_roots = corpora->data_roots,
                                 .n_data_roots = corpora->n_data_roots,
                                 .device = "auto"};
    enum job_kind kind;
    int r = 0;

    if (job_kind_from_name(row->kind, &kind))
        return failure_set(failure, -EINVAL, "internal", NULL, "unknown kind of job '%s'",
                           row->kind);
    r = params_parse(kind, row->request, &params, failure);
    if (!r)
        r = jobs_model_root(jobs, row->model_dir, row->hub_model, &root, failure);
    if (!r && kind == JOB_EVAL)
        r = original_find(jobs, row, root, &named, failure);
    if (r)
        return r;
    files = list_files(jobs, params, kind);
    if (!files)
        return failure_oom(failure);
    spec.model_root = root;
    spec.files = files;
    spec.original = named.record ? &named.original : NULL;
    spec.states = jobs->states;
    return job_file_write(dir, &spec, failure);
}

int site_prepare(struct jobs *jobs, const struct corpora *corpora, const struct job_row *row,
                 const char *nonce, char **ret_dir, struct failure *failure) {
    cleanup(freep) char *dir = NULL;
    int r = leftover_make_dir(jobs, row, &dir, failure);

    if (!r)
        r = fence_set(dir, nonce, failure);
    if (!r)
        r = write_job_file(jobs, corpora, row, dir, failure);
    if (!r)
        *ret_dir = steal_ptr(dir);
    return r;
}

/* -------- programs -------- */

/* The arguments of a program; those that are made are owned. */
struct arguments {
    const char *at[OPTIONS_MAX + 1];
    char *made[OPTIONS_MAX];
    int n, n_made;
    bool failed;
};

static void arguments_done(struct arguments *arguments) {
    for (int i = 0; i < arguments->n_made; i++)
        free(arguments->made[i]);
}

static void add(struct arguments *arguments, const char *text) {
    if (arguments->n == OPTIONS_MAX)
        arguments->failed = true;
    else
        arguments->at[arguments->n++] = text;
}

/* "OPTION=VALUE", unless @value is NULL or empty: then the option is left out. */
static void add_value(struct arguments *arguments, const char *option, const char *value) {
    char *text;

    if (!value || !value[0])
        return;
    text = arguments->n_made < OPTIONS_MAX ? str_format("%s=%s", option, value) : NULL;
    if (text)
        arguments->made[arguments->n_made++] = text;
    else
        arguments->failed = true;
    add(arguments, text);
}

static void add_program(struct arguments *arguments, const struct site *site, const char *name) {
    char *path = str_format("%s/%s", site->bin, name);

    if (path)
        arguments->made[arguments->n_made++] = path;
    else
        arguments->failed = true;
    add(arguments, path);
}

static int start(const struct site *site, struct command *command,
                 const struct arguments *arguments, const char *input, struct failure *failure) {
    if (arguments->failed)
        return failure_oom(failure);
    return command_start(command, arguments->at, (const char *const *)site->environment, input,
                         SITE_SECONDS, failure);
}

static void add_site_options(struct arguments *arguments, const struct config *config) {
    add_value(arguments, "--partition", config->slurm_partition);
    add_value(arguments, "--account", config->slurm_account);
    add_value(arguments, "--qos", config->slurm_qos);
    add_value(arguments, "--gres", config->slurm_gres);
    add_value(arguments, "--cpus-per-task", config->slurm_cpus);
    add_value(arguments, "--mem", config->slurm_memory);
    add_value(arguments, "--time", config->slurm_time);
    for (int i = 0; i < config->slurm_options.n; i++)
        add(arguments, config->slurm_options.at[i]);
}

int site_submit(const struct site *site, struct command *command, const char *dir,
                const char *nonce, const char *name, const char *exclude, struct failure *failure) {
    cleanup(arguments_done) struct arguments arguments = {};
    cleanup(freep) char *log = str_format("%s/slurm.%s.log", dir, nonce);
    char script[LINE_MAX_BYTES];

    /* config/slurm.c refuses paths with characters that a shell or Slurm would take for more. */
    if (snprintf(script, sizeof(script), "#!/bin/sh\nexec '%s' '%s' %s\n", site->config->slurm_run,
                 dir, nonce) >= (int)sizeof(script))
        return failure_set(failure, -ENAMETOOLONG, "config_invalid", "choose a shorter jobs-dir",
                           "the path '%s' is too long", dir);
    if (!log)
        return failure_oom(failure);
    add_program(&arguments, site, "sbatch");
    add(&arguments, "--parsable");
    add(&arguments, "--no-requeue");
    add(&arguments, "--export=NONE");
    add(&arguments, "--propagate=NONE");
    add(&arguments, "--open-mode=append");
    add(&arguments, "--chdir=/");
    add(&arguments, "--signal=B:USR1@90");
    add_value(&arguments, "--job-name", name);
    add_value(&arguments, "--comment", name);
    add_value(&arguments, "--output", log);
    add_value(&arguments, "--exclude", exclude);
    add_site_options(&arguments, site->config);
    return start(site, command, &arguments, script, failure);
}

int site_list(const struct site *site, struct command *command, struct failure *failure) {
    cleanup(arguments_done) struct arguments arguments = {};

    add_program(&arguments, site, "squeue");
    add(&arguments, "--noheader");
    add(&arguments, "--all");
    add(&arguments, "--array");
    add(&arguments, "--states=all");
    add_value(&arguments, "--user", site->uid);
    add(&arguments, "--format=" SLURM_COLUMNS);
    return start(site, command, &arguments, "", failure);
}

bool site_knows_partition(const struct site *site) {
    const struct config_list *options = &site->config->slurm_options;
    bool knows = true;

    for (int i = 0; i < options->n; i++)
        knows = knows && !str_has_prefix(options->at[i], "-p") &&
                !str_has_prefix(options->at[i], "--par");
    return knows;
}

int site_partition(const struct site *site, struct command *command, struct failure *failure) {
    cleanup(arguments_done) struct arguments arguments = {};

    add_program(&arguments, site, "sinfo");
    add(&arguments, "--noheader");
    if (!site->config->slurm_partition)
        add(&arguments, "--all"); /* sinfo takes one of both */
    add_value(&arguments, "--partition", site->config->slurm_partition);
    add(&arguments, "--format=" SLURM_NODES);
    return start(site, command, &arguments, "", failure);
}

int site_cancel(const struct site *site, struct command *command, const char *name, int64_t id,
                struct failure *failure) {
    cleanup(arguments_done) struct arguments arguments = {};
    char number[24];

    snprintf(number, sizeof(number), "%" PRId64, id);
    add_program(&arguments, site, "scancel");
    add_value(&arguments, "--name", name);
    add_value(&arguments, "--user", site->uid);
    if (id)
        add(&arguments, number);
    return start(site, command, &arguments, "", failure);
}
