// SPDX-License-Identifier: Apache-2.0
#include "daemon/pipeline/params/k_types.h"

#include "base/macros.h"

const struct k_type k_types[] = {
    {"q2_k", "2.625 bits a weight", {2, 16, false, 4}, {4, 32, true, 0}},
    {"q3_k", "3.4375 bits a weight", {3, 16, true, 6}, {4, 32, true, 0}},
    {"q4_k", "4.5 bits a weight", {4, 32, false, 6}, {4, 32, false, 0}},
};
const size_t n_k_types = ARRAY_SIZE(k_types);
