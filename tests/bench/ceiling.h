// SPDX-License-Identifier: Apache-2.0
/* The rate that products of a job are compared with. */
#pragma once

#include "base/failure.h"

/*
 * ceiling_product() - FLOP/s of a large product of act on @device, on a backend of its own, so that
 * no peak counts its memory. Return: 0 or -errno with the failure.
 */
int ceiling_product(const char *device, double *ret_rate, struct failure *failure);
