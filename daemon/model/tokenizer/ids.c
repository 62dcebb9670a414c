// SPDX-License-Identifier: Apache-2.0
#include "daemon/model/tokenizer/ids.h"

#include "base/checked.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

int id_list_append(struct id_list *list, const int32_t *ids, size_t n) {
    size_t need, capacity = list->capacity ? list->capacity : 64;

    if (checked_add(list->n, n, &need))
        return -ENOMEM;
    if (need > list->capacity || !list->ids) {
        int32_t *grown;

        while (capacity < need)
            if (checked_mul(capacity, 2, &capacity))
                return -ENOMEM;
        grown = reallocarray(list->ids, capacity, sizeof(*grown));
        if (!grown)
            return -ENOMEM;
        list->ids = grown;
        list->capacity = capacity;
    }
    if (n)
        memcpy(list->ids + list->n, ids, n * sizeof(*ids));
    list->n += n;
    return 0;
}
