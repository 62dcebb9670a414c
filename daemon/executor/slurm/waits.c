// SPDX-License-Identifier: Apache-2.0
#include "daemon/executor/slurm/waits.h"

#include "base/cleanup.h"
#include "base/json.h"
#include "base/str.h"

#include <stdio.h>

void waits_add(struct waits *waits, const struct run_news *news, int64_t now) {
    const char *reason = news->reason;
    int i = 0;

    if (news->starts_at > now && (!waits->next_start || news->starts_at < waits->next_start))
        waits->next_start = news->starts_at;
    if (!reason[0])
        return;
    while (i < waits->n && !str_equal(waits->at[i].reason, reason))
        i++;
    if (i >= WAITS_MAX) {
        i = WAITS_MAX;
        reason = "other";
    }
    if (i >= waits->n) {
        snprintf(waits->at[i].reason, sizeof(waits->at[i].reason), "%s", reason);
        waits->n = i + 1;
    }
    waits->at[i].n++;
}

json_t *waits_reasons(const struct waits *waits) {
    cleanup(json_decrefp) json_t *reasons = json_object();

    for (int i = 0; i < waits->n; i++) {
        if (json_object_set_new(reasons, waits->at[i].reason, json_integer(waits->at[i].n)))
            return NULL;
    }
    return steal_ptr(reasons);
}
