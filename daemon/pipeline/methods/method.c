// SPDX-License-Identifier: Apache-2.0
#include "daemon/pipeline/methods/method.h"

#include "base/str.h"

const struct method_ops *const methods[] = {&method_gptq, &method_rtn};
const size_t n_methods = ARRAY_SIZE(methods);

int method_solve_units(const struct method_ops *method, int refine) {
    return method->solve_units + refine * method->refine_units;
}

const struct method_ops *method_find(const char *name) {
    for (size_t i = 0; i < ARRAY_SIZE(methods); i++) {
        if (str_equal(methods[i]->name, name))
            return methods[i];
    }
    return NULL;
}
