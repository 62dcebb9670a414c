// SPDX-License-Identifier: Apache-2.0
#include "client/verbs/pairs.h"

#include "base/str.h"
#include "client/http/answer.h"
#include "client/http/http.h"
#include "client/job/job.h"

#include <errno.h>
#include <inttypes.h>
#include <math.h>
#include <stdio.h>

int pairs_get(struct client *client, const json_t *job, json_t **ret_windows,
              struct failure *failure) {
    char path[64];
    int r;

    snprintf(path, sizeof(path), "/v1/jobs/%" PRId64 "/windows", job_id(job));
    r = http_get(client->http, path, ret_windows, failure);
    return r == -ENOENT ? 0 : r;
}

static const json_t *find_set(const json_t *windows, const char *name) {
    const json_t *set;
    size_t i;

    json_array_foreach(json_object_get(windows, "data"), i, set) {
        if (str_equal(answer_text(set, "set"), name))
            return set;
    }
    return NULL;
}

double pairs_ratio(const json_t *a, const json_t *b, const char *set, double *ret_error) {
    const json_t *set_a = find_set(a, set), *set_b = find_set(b, set);
    const json_t *nll_a = json_object_get(set_a, "nll"), *nll_b = json_object_get(set_b, "nll");
    size_t n = json_array_size(nll_a);
    double mean = 0, squares = 0;

    if (n == 0 || json_array_size(nll_b) != n || !answer_text(set_a, "sha256")[0] ||
        !str_equal(answer_text(set_a, "sha256"), answer_text(set_b, "sha256")))
        return NAN;
    for (size_t i = 0; i < n; i++)
        mean += (json_number_value(json_array_get(nll_b, i)) -
                 json_number_value(json_array_get(nll_a, i))) /
                (double)n;
    for (size_t i = 0; i < n; i++) {
        double off = json_number_value(json_array_get(nll_b, i)) -
                     json_number_value(json_array_get(nll_a, i)) - mean;

        squares += off * off;
    }
    *ret_error = n > 1 ? sqrt(squares / (double)(n - 1) / (double)n) : 0;
    return mean;
}
