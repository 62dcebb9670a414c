// SPDX-License-Identifier: Apache-2.0
/*
 * Presets: names for sets of parameters. A parameter that a request itself has wins over that of
 * its preset, which wins over the default. openapi.json has a copy for forms. Any thread.
 */
#pragma once

#include <jansson.h>
#include <stddef.h>

struct preset {
    const char *name;   /* the value of the parameter `preset` */
    const char *title;  /* what it is for, in a line */
    const char *params; /* JSON: the parameters that it names, with their values */
};

/* presets - all of them. docs/CHOOSING.md has the measurements that they come from. */
extern const struct preset presets[];
extern const size_t n_presets;

/*
 * preset_params() - the parameters of the preset called @name, a new object; of no preset (NULL, or
 * a name that is none): an empty one. NULL: out of memory.
 */
json_t *preset_params(const char *name);
