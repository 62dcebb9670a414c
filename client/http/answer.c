// SPDX-License-Identifier: Apache-2.0
#include "client/http/answer.h"

#include <math.h>
#include <stdlib.h>
#include <time.h>

const char *answer_text(const json_t *object, const char *key) {
    const char *text = json_string_value(json_object_get(object, key));

    return text ? text : "";
}

double answer_number(const json_t *object, const char *key) {
    const json_t *value = json_object_get(object, key);

    return json_is_number(value) ? json_number_value(value) : NAN;
}

int64_t answer_int(const json_t *object, const char *key, int64_t fallback) {
    const json_t *value = json_object_get(object, key);

    return json_is_integer(value) ? json_integer_value(value) : fallback;
}

double answer_time(const json_t *object, const char *key) {
    const char *text = answer_text(object, key), *rest;
    struct tm tm = {};

    rest = strptime(text, "%Y-%m-%dT%H:%M:%S", &tm);
    if (!rest)
        return NAN;
    return (double)timegm(&tm) + (rest[0] == '.' ? strtod(rest, NULL) : 0);
}
