// SPDX-License-Identifier: Apache-2.0
#include "daemon/executor/executors.h"

#include "base/clock.h"
#include "base/macros.h"

#include <errno.h>

/* In the order in which they are opened, asked and shown. */
static const struct executor_ops *const table[] = {&executor_local, &executor_slurm};

struct executors {
    struct executor *at[ARRAY_SIZE(table)];
    int n;
};

int executors_open(const struct executor_config *config, struct executors **ret_executors,
                   struct failure *failure) {
    struct executors *executors = calloc(1, sizeof(*executors));
    int r = 0;

    if (!executors)
        return failure_oom(failure);
    for (size_t i = 0; i < ARRAY_SIZE(table) && !r; i++) {
        struct executor *executor = NULL;

        r = table[i]->open(config, &executor, failure);
        if (!r && executor)
            executors->at[executors->n++] = executor;
    }
    if (r) {
        executors_free(executors);
        return r;
    }
    *ret_executors = executors;
    return 0;
}

int executors_start(struct executors *executors, struct failure *failure) {
    int r = 0;

    for (int i = 0; i < executors->n && !r; i++)
        r = executors->at[i]->ops->start(executors->at[i], failure);
    return r;
}

void executors_poll(struct executors *executors) {
    for (int i = 0; i < executors->n; i++)
        executors->at[i]->ops->poll(executors->at[i]);
}

void executors_cancel(struct executors *executors, int64_t id) {
    for (int i = 0; i < executors->n; i++)
        executors->at[i]->ops->cancel(executors->at[i], id);
}

json_t *executors_describe(struct executors *executors) {
    json_t *devices = json_array();

    for (int i = 0; devices && i < executors->n; i++) {
        if (executors->at[i]->ops->describe(executors->at[i], devices)) {
            json_decref(devices);
            return NULL;
        }
    }
    return devices;
}

bool executors_live(struct executors *executors, int64_t id) {
    bool lives = false;

    for (int i = 0; i < executors->n && !lives; i++)
        lives = executors->at[i]->ops->lives(executors->at[i], id);
    return lives;
}

bool executors_are_usable(struct executors *executors) {
    bool usable = false;

    for (int i = 0; i < executors->n && !usable; i++)
        usable = executors->at[i]->ops->usable(executors->at[i]);
    return usable;
}

bool executors_idle(struct executors *executors, const struct executor *except) {
    bool idle = false;

    for (int i = 0; i < executors->n && !idle; i++)
        idle = executors->at[i] != except && executors->at[i]->ops->idle(executors->at[i]);
    return idle;
}

bool executors_are_alive(struct executors *executors, int seconds, struct failure *failure) {
    bool alive = true;

    for (int i = 0; i < executors->n && alive; i++)
        alive = executors->at[i]->ops->alive(executors->at[i], seconds, failure);
    return alive;
}

void executors_reload(struct executors *executors, const struct config *config) {
    for (int i = 0; i < executors->n; i++)
        executors->at[i]->ops->reload(executors->at[i], config);
}

void executors_stop(struct executors *executors) {
    for (int i = 0; executors && i < executors->n; i++)
        executors->at[i]->ops->stop(executors->at[i]);
}

int executors_join(struct executors *executors, int seconds) {
    double until = clock_monotonic() + seconds;
    int result = 0;

    for (int i = 0; executors && i < executors->n; i++) {
        int r = executors->at[i]->ops->join(executors->at[i], until);

        result = result ? result : r;
    }
    return result;
}

void executors_free(struct executors *executors) {
    if (!executors)
        return;
    for (int i = 0; i < executors->n; i++)
        executors->at[i]->ops->free(executors->at[i]);
    free(executors);
}
