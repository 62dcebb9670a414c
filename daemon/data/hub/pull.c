// SPDX-License-Identifier: Apache-2.0
#include "daemon/data/hub/pull.h"

#include "base/clock.h"
#include "base/macros.h"

#define NOTIFY_EVERY 0.2 /* seconds */
#define RATE_OVER 1.0

bool hub_pull_tick(struct hub_pull *pull, const char *file, uint64_t bytes) {
    struct hub_progress progress = {.file = file};
    double now = clock_monotonic(), seconds = now - pull->rate_at;

    progress.bytes = pull->bytes + bytes;
    progress.bytes_total = pull->more ? 0 : pull->bytes_total;
    if (pull->rate_at == 0) {
        pull->rate_at = now;
        pull->rate_bytes = progress.bytes;
    } else if (seconds >= RATE_OVER) {
        double lately = (double)(progress.bytes - MIN(pull->rate_bytes, progress.bytes)) / seconds;

        pull->rate = pull->rate > 0 ? 0.7 * pull->rate + 0.3 * lately : lately;
        pull->rate_at = now;
        pull->rate_bytes = progress.bytes;
    }
    if (now - pull->notified_at >= NOTIFY_EVERY) {
        pull->notified_at = now;
        progress.rate = pull->rate;
        progress.checking = pull->checking;
        pull->observer->progress(pull->observer->ctx, &progress);
    }
    return pull->observer->cancelled(pull->observer->ctx);
}
