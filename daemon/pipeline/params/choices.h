// SPDX-License-Identifier: Apache-2.0
/* The parameters that are a choice of names: where the names come from. Any thread. */
#pragma once

#include <stddef.h>

struct params;

/* Where the names of a PARAM_CHOICE come from and where the choice goes. */
struct param_choice {
    const char *(*name)(size_t i);  /* NULL after the last */
    const char *(*title)(size_t i); /* what the name stands for, in a line */
    void (*set)(struct params *params, size_t i);
    const char *(*get)(const struct params *params); /* NULL: none is chosen */
};

extern const struct param_choice method_choice, grid_choice, format_choice, engine_choice,
    embedding_choice, k_type_choice, preset_choice, unit_choice;
