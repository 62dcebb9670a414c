// SPDX-License-Identifier: Apache-2.0
/* Values that are no numbers. */
#pragma once

#include "base/failure.h"
#include "daemon/model/safetensors/tensor.h"

#include <stdbool.h>

/* tensor_is_finite() - is there neither Inf nor NaN in @tensor? True for integers. Any thread. */
bool tensor_is_finite(const struct tensor *tensor);

/* tensor_not_finite() - says so of the tensor called @name. Return: -EBADMSG (model_invalid). */
int tensor_not_finite(const char *name, struct failure *failure);
