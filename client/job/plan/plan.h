// SPDX-License-Identifier: Apache-2.0
/* What quantd planned for target_bits. */
#pragma once

#include "base/failure.h"
#include "client/screen/sheet.h"
#include "client/screen/terminal.h"

#include <jansson.h>

/*
 * plan_report() - the choice of @job, what was predicted and what was measured of it; of a job that
 * only plans, what each size costs. Nothing when there is no plan. Return: 0 or -ENOMEM.
 */
int plan_report(const struct terminal *terminal, const json_t *job, struct failure *failure);

/*
 * plan_sheet() - the targets and the curve of the plan of @job, a row each. Return: 0 or -ENOMEM.
 */
int plan_sheet(FILE *file, const json_t *job, enum sheet_format format);
