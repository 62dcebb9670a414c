// SPDX-License-Identifier: Apache-2.0
/*
 * An export job: the codes of a finished job in another format. They are in that job's checkpoint
 * when its format holds them, else in the folder `codes` beside it.
 */
#pragma once

#include "base/failure.h"

#include <jansson.h>

struct params;

/*
 * reexport_check() - can the job whose checkpoint is in the folder @artifact be exported in the
 * format of @params, for their engine? Return: 0; -EINVAL with the field; or -errno. Any thread.
 */
int reexport_check(const char *artifact, const struct params *params, struct failure *failure);

/*
 * reexport_set_own() - put what an export job is asked for itself, @own, into @params, the rest of
 * which are those of the job that it exports. Return: 0 or -ENOMEM. Any thread.
 */
int reexport_set_own(const struct params *own, json_t *params);

/*
 * reexport_facts() - what clients see of the model that became the checkpoint in @artifact, whose
 * fingerprint was @fingerprint: the caller owns *ret_model. Return: 0 or -errno with the failure.
 * Any thread.
 */
int reexport_facts(const char *artifact, const char *fingerprint, json_t **ret_model,
                   struct failure *failure);
