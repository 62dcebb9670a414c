// SPDX-License-Identifier: Apache-2.0
/* A list of ids that grows. Zero-initialise; one thread. */
#pragma once

#include <stddef.h>
#include <stdint.h>

struct id_list {
    int32_t *ids; /* owned */
    size_t n, capacity;
};

/* id_list_append() - Return: 0 or -ENOMEM. */
int id_list_append(struct id_list *list, const int32_t *ids, size_t n);
