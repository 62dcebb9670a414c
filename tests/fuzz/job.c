// SPDX-License-Identifier: Apache-2.0
/* The body of a request for a job; parameters that were taken survive being written and read. */
#include "base/json.h"
#include "daemon/queue/submission.h"
#include "tests/fuzz/fuzz.h"

/* What is resolved has every field, as only a quantize job may. */
static void check_params(const struct params *params) {
    cleanup(json_decrefp) json_t *first = params_to_json(params), *second = NULL;
    cleanup(params_freep) struct params *again = NULL;
    struct failure failure = {};

    fuzz_require(first);
    if (params_parse(JOB_QUANTIZE, first, &again, &failure))
        fuzz_fail(__FILE__, __LINE__, failure.detail);
    second = params_to_json(again);
    fuzz_require(json_equal(first, second));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    cleanup(submission_freep) struct submission *submission = NULL;
    cleanup(json_decrefp) json_t *value = NULL;
    struct failure failure = {};
    int r;

    r = json_parse((const char *)data, size, "x", "malformed_json", &value, &failure);
    fuzz_require(!r == !!value && !r == !failure.code[0]);
    if (r)
        return 0;
    for (int kind = JOB_QUANTIZE; kind <= JOB_EVAL; kind++) {
        cleanup(params_freep) struct params *params = NULL;

        if (!params_parse(kind, value, &params, &failure))
            check_params(params);
    }
    r = submission_parse(value, &submission, &failure);
    fuzz_require(!r == !!submission);
    return 0;
}
