// SPDX-License-Identifier: Apache-2.0
#include "daemon/model/arch/architectures.h"

#include "base/macros.h"
#include "base/str.h"
#include "daemon/model/arch/olmoe.h"

const struct arch *const architectures[] = {&arch_olmoe};
const int n_architectures = ARRAY_SIZE(architectures);

const struct arch *architecture_find(const char *model_type, const char *class_name) {
    for (int i = 0; i < n_architectures; i++) {
        const struct arch *arch = architectures[i];

        if (model_type ? str_equal(model_type, arch->model_type)
                       : str_equal(class_name, arch->class_name))
            return arch;
    }
    return NULL;
}
