// SPDX-License-Identifier: Apache-2.0
/* The test hub (server.py) as a process, and a client of it with a cache of its own. */
#pragma once

#include "base/cleanup.h"
#include "base/file.h"
#include "base/json.h"
#include "base/str.h"
#include "daemon/data/hub/hub.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/types.h>

#include <cmocka.h>

#define SITE_MODEL "quantd/olmoe-demo"
#define SITE_TOKEN "hf_secret"

struct site {
    pid_t pid;
    int stdin_fd;
    int port, cdn_port;
    char *files;  /* folder of the public data sets; NULL: it is not there */
    char dir[64]; /* the client's */
    char endpoint[64];
    struct hub_config config;
    struct hub_client *client;
    char cache[80], own[80], source[6][160];
    char *sources[6];
    struct failure failure;

    /* What the observer does and saw. */
    int n_progress;
    uint64_t bytes, bytes_total;
    double cancel_after; /* seconds after the first question; 0: never */
    double asked_at;
    struct hub_observer observer;
};

/* site_setup() - start the hub; a fixture of the whole group. */
int site_setup(void **state);
int site_teardown(void **state);

/* site_fresh() - an empty cache, no rules, a new client; a fixture of each test. */
int site_fresh(void **state);
int site_clean(void **state);

/* site_open() - open the client anew, with the configuration as it is. */
void site_open(struct site *site);

/* site_plan() - give the hub rules, a JSON array with ' for ", and empty its log. */
void site_plan(struct site *site, const char *rules);

/* site_log() - what was asked since; owned by the caller. */
json_t *site_log(struct site *site);

/* site_count() - how many requests were logged whose path has @part; NULL: all. */
int site_count(struct site *site, const char *method, const char *part);

/* site_pull() - pull the model @name. *ret_dir may be NULL. Return: as hub_pull_model(). */
int site_pull(struct site *site, const char *name, char **ret_dir);

/* site_check_model() - the snapshot in @dir has the files of the demo model, byte for byte. */
void site_check_model(const char *dir);
