// SPDX-License-Identifier: Apache-2.0
#include "kernels/cpu/choice/core.h"

/* The compiler's own reading of cpuid asks the operating system too: it must save the registers. */
void cpu_features_read(struct cpu_features *ret_features) {
    *ret_features = (struct cpu_features){};
#ifdef __x86_64__
    __builtin_cpu_init();
    ret_features->avx = __builtin_cpu_supports("avx");
    ret_features->avx2 = __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma");
    ret_features->avx512 = __builtin_cpu_supports("avx512f") &&
                           __builtin_cpu_supports("avx512cd") &&
                           __builtin_cpu_supports("avx512bw") &&
                           __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl");
    ret_features->amd = __builtin_cpu_is("amd");
#endif
}
