// SPDX-License-Identifier: Apache-2.0
/* What is there to work with: models and data sets, of the hub and below the roots. Any thread. */
#pragma once

#include "base/failure.h"

#include <jansson.h>

struct daemon;

/*
 * inventory_models(), inventory_datasets() - as struct service's models and datasets. What cannot
 * be read is left out and counted. Return: 0 or -errno with the failure.
 */
int inventory_models(struct daemon *daemon, json_t **ret_list, struct failure *failure);
int inventory_datasets(struct daemon *daemon, json_t **ret_list, struct failure *failure);
