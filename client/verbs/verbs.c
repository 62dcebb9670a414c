// SPDX-License-Identifier: Apache-2.0
/* The verbs of quantctl; each is a file of this folder. */
#include "client/client.h"

extern const struct verb verb_admin, verb_cancel, verb_compare, verb_datasets, verb_delete,
    verb_doctor, verb_download, verb_eval, verb_export, verb_groups, verb_hold, verb_list,
    verb_logs, verb_models, verb_plan, verb_prio, verb_ps, verb_release, verb_quantize, verb_retry,
    verb_rm_model, verb_show, verb_token, verb_top, verb_version, verb_wait, verb_watch;

const struct verb *const verbs[] = {
    &verb_quantize, &verb_plan,     &verb_eval,    &verb_export,   &verb_list,     &verb_groups,
    &verb_ps,       &verb_top,      &verb_show,    &verb_compare,  &verb_logs,     &verb_watch,
    &verb_wait,     &verb_cancel,   &verb_hold,    &verb_release,  &verb_prio,     &verb_retry,
    &verb_delete,   &verb_download, &verb_models,  &verb_datasets, &verb_rm_model, &verb_token,
    &verb_admin,    &verb_doctor,   &verb_version, NULL,
};
