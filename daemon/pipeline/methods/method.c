// SPDX-License-Identifier: Apache-2.0
#include "daemon/pipeline/methods/method.h"

#include "base/str.h"

static const struct method_ops *const methods[] = {&method_gptq, &method_rtn};

const struct method_ops *method_at(size_t i) {
    return i < ARRAY_SIZE(methods) ? methods[i] : NULL;
}

const struct method_ops *method_find(const char *name) {
    for (size_t i = 0; i < ARRAY_SIZE(methods); i++) {
        if (str_equal(methods[i]->name, name))
            return methods[i];
    }
    return NULL;
}
