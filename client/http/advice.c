// SPDX-License-Identifier: Apache-2.0
#include "client/http/advice.h"

#include "base/macros.h"
#include "base/str.h"

static const struct {
    const char *code, *advice;
} advices[] = {
    {"job_not_found", "'quantctl list --all' shows the jobs and their ids"},
    {"job_ended", "'quantctl show ID' shows how it ended, 'quantctl retry ID' runs it again"},
    {"job_not_queued",
     "only waiting jobs can be held, released or moved; 'quantctl show ID' shows it"},
    {"group_not_queued",
     "only waiting jobs can be held, released or moved; 'quantctl show GROUP' shows them"},
    {"job_not_ended", "stop it first: quantctl cancel ID"},
    {"forbidden",
     "ask its owner or an admin of quantd; 'quantctl doctor' shows your user and role"},
    {"unauthorized",
     "set QUANTD_TOKEN to a token of this daemon, or name a file with --token-file; an "
     "admin creates one with: quantctl token create NAME"},
};

const char *advice_for(const char *code) {
    for (size_t i = 0; i < ARRAY_SIZE(advices); i++)
        if (str_equal(advices[i].code, code))
            return advices[i].advice;
    return NULL;
}
