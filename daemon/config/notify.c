// SPDX-License-Identifier: Apache-2.0
#include "daemon/config/notify.h"

#include "base/file.h"
#include "base/str.h"
#include "daemon/config/hub.h"

#include <errno.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define KEY_MAX 4096
#define KEY_MIN 16

static int invalid(struct failure *failure, const char *hint, const char *option, const char *value,
                   const char *why) {
    return failure_set(failure, -EINVAL, "config_invalid", hint, "invalid %s '%s': %s", option,
                       value, why);
}

/* The first line of the file. */
static int read_key(struct config *config, struct failure *failure) {
    const char *path = config->notify_key_file;
    cleanup(freep) char *text = NULL;
    size_t size;
    int r;

    if (!path)
        return 0;
    r = file_read(path, KEY_MAX, &text, &size);
    if (r)
        return failure_errno(failure, r, "cannot read the key", path);
    text[strcspn(text, "\r\n")] = '\0';
    if (strlen(text) < KEY_MIN)
        return invalid(failure, "make one: openssl rand -hex 32 >FILE", "notify-key-file", path,
                       "its first line has less than 16 characters");
    config->notify_key = steal_ptr(text);
    return 0;
}

static int check_hosts(const struct config *config, struct failure *failure) {
    const struct config_list *hosts = &config->notify_hosts;

    for (int i = 0; i < hosts->n; i++)
        if (!target_check_host(hosts->at[i]))
            return invalid(failure, NULL, "notify-host", hosts->at[i],
                           "it is neither HOST nor HOST:PORT");
    if (hosts->n && !config->notify_key)
        return invalid(failure, "make one: openssl rand -hex 32 >FILE; notify-key-file = FILE",
                       "notify-host", hosts->at[0], "there is no notify-key-file to sign by");
    return 0;
}

static int check_url(const struct config *config, struct failure *failure) {
    const struct target_policy policy = config_target_policy(config);
    struct failure why;

    if (!config->notify_url || !target_check(&policy, config->notify_url, &why))
        return 0;
    return invalid(failure, why.hint, "notify-url", config->notify_url, why.detail);
}

static int check_command(const struct config *config, struct failure *failure) {
    const char *command = config->notify_command;
    struct stat st;

    if (!command)
        return 0;
    if (command[0] == '/' && stat(command, &st) == 0 && S_ISDIR(st.st_mode))
        return invalid(failure, "name a program by its absolute path", "notify-command", command,
                       "it is a folder");
    if (command[0] == '/' && access(command, X_OK) == 0)
        return 0;
    return invalid(failure, "name a program by its absolute path", "notify-command", command,
                   command[0] == '/' ? strerror(errno) : "it is not an absolute path");
}

struct target_policy config_target_policy(const struct config *config) {
    return (struct target_policy){.hosts = config->notify_hosts.at,
                                  .n_hosts = config->notify_hosts.n,
                                  .private = config->notify_private,
                                  .key = config->notify_key};
}

int config_notify(struct config *config, struct failure *failure) {
    int r = 0;

    if (config->notify_private_text)
        r = config_switch("notify-private", config->notify_private_text, &config->notify_private,
                          failure);
    if (!r)
        r = read_key(config, failure);
    if (!r)
        r = check_hosts(config, failure);
    if (!r)
        r = check_url(config, failure);
    return r ? r : check_command(config, failure);
}
