// SPDX-License-Identifier: Apache-2.0
#include "tests/api/fake/fake.h"

#include "base/str.h"

#include <errno.h>
#include <inttypes.h>

/* Folders 1 to 7 can be adopted, folder 8 cannot; the list shows 7 and 8. */
static int list(void *ctx, int64_t after, int limit, json_t **ret_list, struct failure *failure) {
    json_t *data = json_array();

    (void)ctx;
    (void)failure;
    for (int id = 7; id <= 8 && (int)json_array_size(data) < limit; id++) {
        if (id > after)
            json_array_append_new(
                data, json_pack("{s:s, s:i, s:s, s:b, s:n, s:s, s:i, s:n, s:n, s:n}", "object",
                                "orphan", "id", id, "state", id == 7 ? "finished" : "unfinished",
                                "adoptable", id == 7, "reason", "path", "/x", "bytes", 5,
                                "changed_at", "model", "params"));
    }
    *ret_list = json_pack("{s:s, s:o, s:b}", "object", "list", "data", data, "has_more",
                          (int)json_array_size(data) == limit && after == 0);
    return 0;
}

static int adopt(void *ctx, const struct caller *caller, int64_t id, const json_t *request,
                 json_t **ret_state, bool *ret_adopted, struct failure *failure) {
    struct fake *fake = ctx;
    const json_t *owner = json_object_get(request, "owner");

    if (id == 8)
        return failure_set(failure, -EBUSY, "orphan_unfinished", "a hint", "no checkpoint");
    if (id > 8)
        return failure_set(failure, -ENOENT, "orphan_not_found", "a hint", "no folder");
    if (owner && !json_is_string(owner))
        return failure_field(failure, "owner", NULL, "must be a string");
    *ret_adopted = !fake->adoption_runs;
    *ret_state = fake->adoption_runs ? json_pack("{s:s, s:I, s:s}", "object", "adoption", "id",
                                                 (json_int_t)id, "status", "running")
                                     : json_pack("{s:I, s:s, s:s, s:s}", "id", (json_int_t)id,
                                                 "kind", "quantize", "status", "succeeded", "owner",
                                                 owner ? json_string_value(owner) : caller->owner);
    return 0;
}

void fake_orphans_init(struct service *service) {
    service->orphans = list;
    service->adopt = adopt;
}
