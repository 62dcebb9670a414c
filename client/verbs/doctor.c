// SPDX-License-Identifier: Apache-2.0
#include "api/wire.h"
#include "base/bytes.h"
#include "client/client.h"
#include "client/http/answer.h"
#include "client/screen/text.h"

#include <errno.h>
#include <grp.h>
#include <math.h>
#include <pwd.h>
#include <stdarg.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>

#define INDENT 16 /* "fail  versions  " */
#define GB 1e9
#define DISK_LOW (20 * GB) /* enough for a job on OLMoE-1B-7B */

enum health { HEALTH_OK, HEALTH_WARN, HEALTH_FAIL };

static const struct {
    const char *name;
    enum style style;
} healths[] = {{"ok", STYLE_GREEN}, {"warn", STYLE_YELLOW}, {"fail", STYLE_RED}};

struct doctor {
    struct client *client;
    json_t *checks; /* {name, health, detail, hint} */
    enum health worst;
    bool failed; /* out of memory */
};

/* Adds a check; @hint: what to do, or NULL. */
static void found(struct doctor *d, const char *name, enum health health, const char *hint,
                  const char *format, ...) __attribute__((format(printf, 5, 6)));

static void found(struct doctor *d, const char *name, enum health health, const char *hint,
                  const char *format, ...) {
    cleanup(freep) char *detail = NULL, *advice = text_cleaned(hint ? hint : "");
    va_list args;
    int n;

    va_start(args, format);
    n = vasprintf(&detail, format, args);
    va_end(args);
    if (n < 0)
        detail = NULL;
    if (detail)
        text_clean(detail);
    d->worst = MAX(d->worst, health);
    if (!detail || !advice ||
        json_array_append_new(d->checks,
                              json_pack("{ss ss ss ss}", "name", name, "health",
                                        healths[health].name, "detail", detail, "hint", advice)))
        d->failed = true;
}

static void found_failure(struct doctor *d, const char *name, const struct failure *failure) {
    found(d, name, HEALTH_FAIL, failure->hint, "%s", failure->detail);
}

/* ---- without the daemon ---- */

/* Is this process in the group @gid? */
static bool in_group(gid_t gid) {
    gid_t groups[256];
    int n = getgroups((int)ARRAY_SIZE(groups), groups);

    for (int i = 0; i < n; i++)
        if (groups[i] == gid)
            return true;
    return getegid() == gid;
}

static void check_denied(struct doctor *d, const char *path, const struct stat *st) {
    const struct group *group = getgrgid(st->st_gid);
    const struct passwd *user = getpwuid(geteuid());
    const char *name = group ? group->gr_name : "quantd", *who = user ? user->pw_name : "USER";
    cleanup(freep) char *hint = NULL;

    hint = st->st_gid == 0
               ? str_format("only root may use it: start quantd with its systemd units, which give "
                            "access to the group quantd")
           : in_group(st->st_gid)
               ? str_format("ask its owner to give the group '%s' write permission", name)
               : str_format("run 'sudo usermod -aG %s %s', then log in again", name, who);
    found(d, "socket", HEALTH_FAIL, hint, "the user '%s' may not write to '%s'", who, path);
}

static void check_socket(struct doctor *d) {
    const char *path = http_socket(d->client->http);
    struct stat st = {};

    if (!path) {
        /* TCP was chosen because the socket cannot be used. */
        if (access(WIRE_DEFAULT_SOCKET, F_OK) && errno == EACCES &&
            str_equal(http_server(d->client->http),
                      "http://" WIRE_DEFAULT_HOST ":" WIRE_DEFAULT_PORT))
            found(d, "socket", HEALTH_WARN,
                  "run 'sudo usermod -aG quantd $USER', then log in again",
                  "you may not use '%s', so quantd cannot know the owner of your jobs",
                  WIRE_DEFAULT_SOCKET);
        return;
    }
    if (stat(path, &st) && errno == EACCES)
        found(d, "socket", HEALTH_FAIL,
              "ask for access to its folder: usually 'sudo usermod -aG quantd USER', then log in "
              "again",
              "cannot access '%s': %s", path, strerror(errno));
    else if (!st.st_mode)
        found(d, "socket", HEALTH_FAIL,
              "start quantd with 'systemctl start quantd', or name another server with --server or "
              "QUANTD_SERVER",
              "there is no socket '%s'", path);
    else if (!S_ISSOCK(st.st_mode))
        found(d, "socket", HEALTH_FAIL, "name the socket of quantd with --server unix:PATH",
              "'%s' is not a socket", path);
    else if (access(path, W_OK))
        check_denied(d, path, &st);
    else
        found(d, "socket", HEALTH_OK, NULL, "you may use '%s'", path);
}

/* ---- what the daemon answers ---- */

static int get(struct doctor *d, const char *path, json_t **ret_answer, struct failure *failure) {
    *failure = (struct failure){};
    return http_get(d->client->http, path, ret_answer, failure);
}

/* Return: whether it answers. */
static bool check_daemon(struct doctor *d) {
    cleanup(json_decrefp) json_t *answer = NULL;
    struct failure failure;
    const char *version;

    if (get(d, "/v1/version", &answer, &failure)) {
        found_failure(d, "daemon", &failure);
        return false;
    }
    version = answer_text(answer, "version");
    found(d, "daemon", HEALTH_OK, NULL, "quantd answers at '%s'", http_server(d->client->http));
    if (str_equal(version, QUANTD_VERSION))
        found(d, "versions", HEALTH_OK, NULL, "quantctl and quantd are both %s", version);
    else
        found(d, "versions", HEALTH_WARN,
              "install the same version of both; after an upgrade: systemctl restart quantd",
              "quantctl is %s, quantd is %s", QUANTD_VERSION, version[0] ? version : "unknown");
    return true;
}

static void check_identity(struct doctor *d) {
    cleanup(json_decrefp) json_t *who = NULL;
    struct failure failure;
    const char *role;

    if (get(d, "/v1/whoami", &who, &failure)) {
        if (!str_equal(failure.code, "not_found")) /* an older daemon knows no roles */
            found_failure(d, "identity", &failure);
        return;
    }
    role = answer_text(who, "role");
    if (str_equal(role, "read"))
        found(d, "identity", HEALTH_WARN, "ask an admin for a token with the role submit",
              "you are '%s' with the role read, which cannot submit jobs",
              answer_text(who, "owner"));
    else
        found(d, "identity", HEALTH_OK, NULL, "you are '%s' with the role %s",
              answer_text(who, "owner"), role);
}

static void check_ready(struct doctor *d) {
    cleanup(json_decrefp) json_t *ready = NULL;
    struct failure failure;

    if (get(d, "/readyz", &ready, &failure))
        found_failure(d, "ready", &failure);
    else
        found(d, "ready", HEALTH_OK, NULL, "jobs can run");
}

static void check_devices(struct doctor *d) {
    cleanup(json_decrefp) json_t *list = NULL;
    const json_t *device;
    struct failure failure;
    size_t i;

    if (get(d, "/v1/devices", &list, &failure)) {
        found_failure(d, "device", &failure);
        return;
    }
    json_array_foreach(json_object_get(list, "data"), i, device) {
        double total = answer_number(device, "memory_total");
        const char *id = answer_text(device, "id"), *name = answer_text(device, "name");
        const char *library = answer_text(device, "library");
        const char *comma = library[0] ? ", " : "";
        char size[TEXT_SIZE], n_free[TEXT_SIZE];

        /* "cpu, 2 threads" says what it is */
        if (str_has_prefix(name, id) && str_has_prefix(name + strlen(id), ", "))
            name += strlen(id) + strlen(", ");

        if (json_is_object(json_object_get(device, "error"))) {
            const json_t *error = json_object_get(device, "error");

            found(d, "device", HEALTH_FAIL, answer_text(error, "hint"), "%s: %s", id,
                  answer_text(error, "detail"));
            continue;
        }
        bytes_text(total, size);
        bytes_text(answer_number(device, "memory_free"), n_free);
        if (json_is_object(json_object_get(device, "jobs")))
            found(d, "device", HEALTH_OK, NULL,
                  "%s: %s; 'quantd --check-cluster' on its machine runs a trial job there", id,
                  name);
        else if (total > 0)
            found(d, "device", HEALTH_OK, NULL, "%s: %s%s%s, %s of %s free", id, name, comma,
                  library, n_free, size);
        else
            found(d, "device", HEALTH_OK, NULL, "%s: %s%s%s", id, name, comma, library);
    }
    if (json_array_size(json_object_get(list, "data")) == 0)
        found(d, "device", HEALTH_FAIL, "start it with --device, see quantd(8)",
              "quantd has no device");
}

static void check_disk(struct doctor *d, const char *what, const json_t *disk) {
    double n_free = answer_number(disk, "bytes_free"), total = answer_number(disk, "bytes_total");
    double floor_bytes = answer_number(disk, "floor");
    char free_text[TEXT_SIZE], total_text[TEXT_SIZE];

    bytes_text(n_free, free_text);
    bytes_text(total, total_text);
    if (!(n_free >= 0))
        found(d, "disk", HEALTH_FAIL, "look into the log of quantd: journalctl -u quantd",
              "quantd cannot read the disk of %s '%s'", what, answer_text(disk, "path"));
    else if (n_free < floor_bytes)
        found(d, "disk", HEALTH_FAIL, "free space, or delete old jobs: quantctl delete ID...",
              "%s has %s free, less than quantd keeps free", what, free_text);
    else if (n_free < DISK_LOW)
        found(d, "disk", HEALTH_WARN,
              "free space: a job on OLMoE-1B-7B needs about 10 GB, and the model 14 GB",
              "%s '%s' has %s of %s free", what, answer_text(disk, "path"), free_text, total_text);
    else
        found(d, "disk", HEALTH_OK, NULL, "%s '%s' has %s of %s free", what,
              answer_text(disk, "path"), free_text, total_text);
}

/* An older daemon keeps none. */
static void check_states(struct doctor *d, const json_t *states) {
    const char *path = answer_text(states, "path");
    char bytes[TEXT_SIZE], limit[TEXT_SIZE];

    if (!states)
        return;
    bytes_text(answer_number(states, "bytes"), bytes);
    bytes_text(answer_number(states, "limit"), limit);
    if (!path[0])
        found(d, "states", HEALTH_WARN, "look into the log of quantd: journalctl -u quantd",
              "quantd cannot keep the hidden states of originals for later jobs");
    else
        found(d, "states", HEALTH_OK, NULL, "'%s' has %s of at most %s", path, bytes, limit);
}

static void check_roots(struct doctor *d, const json_t *roots) {
    const json_t *root;
    size_t i;

    json_array_foreach(roots, i, root) {
        bool readable = json_is_true(json_object_get(root, "readable"));

        found(d, "folder", readable ? HEALTH_OK : HEALTH_FAIL,
              readable ? NULL : "give the user that quantd runs as read and execute permission",
              "quantd %s read the %s root '%s'", readable ? "can" : "cannot",
              answer_text(root, "kind"), answer_text(root, "path"));
    }
}

static void check_hub(struct doctor *d, const json_t *hub) {
    double answered = answer_time(hub, "answered_at"), failed = answer_time(hub, "failed_at");
    const char *endpoint = answer_text(hub, "endpoint");
    char ago[TEXT_SIZE];

    text_age(
        fmax((double)time(NULL) - (failed > answered || !isfinite(answered) ? failed : answered),
             0),
        ago);
    if (json_is_true(json_object_get(hub, "offline")))
        found(d, "hub", HEALTH_OK, NULL,
              "offline: only models that were fetched or are in a model root");
    else if (isfinite(failed) && !(answered >= failed))
        found(d, "hub", HEALTH_WARN,
              "check the network of quantd, its proxy, and hub-endpoint in its configuration",
              "'%s' could not be reached %s ago: %s", endpoint, ago, answer_text(hub, "error"));
    else if (isfinite(answered))
        found(d, "hub", HEALTH_OK, NULL, "'%s' answered %s ago", endpoint, ago);
    else
        found(d, "hub", HEALTH_OK, NULL, "'%s'; not contacted since quantd started", endpoint);
}

static void check_status(struct doctor *d) {
    cleanup(json_decrefp) json_t *status = NULL;
    struct failure failure;

    if (get(d, "/v1/status", &status, &failure)) {
        if (!str_equal(failure.code, "not_found")) /* an older daemon has no status */
            found_failure(d, "disk", &failure);
        return;
    }
    check_disk(d, "the state folder", json_object_get(status, "state"));
    check_disk(d, "the cache", json_object_get(status, "cache"));
    check_states(d, json_object_get(status, "states"));
    check_roots(d, json_object_get(status, "roots"));
    check_hub(d, json_object_get(status, "hub"));
}

/* ---- output ---- */

static void print(const struct terminal *terminal, const json_t *checks) {
    const json_t *check;
    size_t i;

    json_array_foreach(checks, i, check) {
        const char *health = answer_text(check, "health"), *hint = answer_text(check, "hint");
        enum style style = STYLE_PLAIN;

        for (size_t k = 0; k < ARRAY_SIZE(healths); k++)
            if (str_equal(health, healths[k].name))
                style = healths[k].style;
        fprintf(terminal->file, "%s%-4s%s  %-8s  ", terminal_style(terminal, style), health,
                terminal_style(terminal, STYLE_PLAIN), answer_text(check, "name"));
        terminal_wrap(terminal, INDENT, answer_text(check, "detail"));
        if (!hint[0])
            continue;
        fprintf(terminal->file, "%*s", INDENT, "");
        terminal_wrap(terminal, INDENT, hint);
    }
}

static int run(struct client *client, const struct args *args, struct failure *failure) {
    cleanup(json_decrefp) json_t *checks = json_array();
    struct doctor d = {.client = client, .checks = checks};

    (void)args;
    check_socket(&d);
    if (d.worst != HEALTH_FAIL && check_daemon(&d)) {
        check_identity(&d);
        check_ready(&d);
        check_devices(&d);
        check_status(&d);
    }
    if (d.failed)
        return failure_oom(failure);
    if (client->json) {
        cleanup(json_decrefp) json_t *all = json_pack("{ss sb sO}", "object", "doctor", "healthy",
                                                      d.worst != HEALTH_FAIL, "checks", checks);
        int r = all ? client_print_json(all, failure) : failure_oom(failure);

        if (r)
            return r;
    } else {
        print(&client->terminal, checks);
    }
    return d.worst == HEALTH_FAIL ? EXIT_UNHEALTHY : EXIT_OK;
}

const struct verb verb_doctor = {
    .name = "doctor",
    .usage = "",
    .summary = "check quantd and the access to it, and suggest fixes",
    .details = "Exit status 0: no check failed; 1: a check failed.\n",
    .run = run,
};
