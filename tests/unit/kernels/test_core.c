// SPDX-License-Identifier: Apache-2.0
/* The kernels that suit a processor better than those that OpenBLAS chose. */
#include "kernels/cpu/choice/core.h"

#include "base/macros.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>

#include <cmocka.h>

#define SSE                                                                                        \
    {}
#define AVX                                                                                        \
    { .avx = true }
#define AVX2                                                                                       \
    { .avx = true, .avx2 = true }
#define AVX512                                                                                     \
    { .avx = true, .avx2 = true, .avx512 = true }
#define AMD_AVX                                                                                    \
    { .avx = true, .amd = true }
#define AMD_AVX2                                                                                   \
    { .avx = true, .avx2 = true, .amd = true }
#define AMD_AVX512                                                                                 \
    { .avx = true, .avx2 = true, .avx512 = true, .amd = true }

static const struct {
    const char *processor;
    struct cpu_features features;
    const char *chosen, *better[CORES_MAX];
} processors[] = {
    {"Core 2", SSE, "Core2", {}},
    {"an emulated one", SSE, "Prescott", {}},
    {"Xeon E5 (Sandy Bridge)", AVX, "Sandybridge", {}},
    {"Xeon E5 under an emulated model", AVX, "Prescott", {"Sandybridge"}},
    {"Xeon E5 v3 (Haswell)", AVX2, "Haswell", {}},
    {"Xeon E5 v3 under an emulated model", AVX2, "Core2", {"Haswell", "Sandybridge"}},
    {"Alder Lake, older than the library", AVX2, "Nehalem", {"Haswell", "Sandybridge"}},
    {"Xeon Gold (Skylake)", AVX512, "SkylakeX", {}},
    {"Xeon Gold, library without AVX-512", AVX512, "Haswell", {"SkylakeX"}},
    {"Cooper Lake", AVX512, "Cooperlake", {}},
    {"Emerald Rapids, 0.3.21", AVX512, "Prescott", {"SkylakeX", "Haswell", "Sandybridge"}},
    {"Emerald Rapids, later", AVX512, "SapphireRapids", {}},
    {"Granite Rapids, a later library's name", AVX512, "GraniteRapids", {}},
    {"Bulldozer", AMD_AVX, "Bulldozer", {}},
    {"Zen 2", AMD_AVX2, "Zen", {}},
    {"Zen 2 under an emulated model", AMD_AVX2, "Opteron_SSE3", {"Zen", "Sandybridge"}},
    {"Zen 2, the other 256 bits", AMD_AVX2, "Haswell", {}},
    {"Zen 5, 0.3.21", AMD_AVX512, "Cooperlake", {}},
    {"Zen 5, chosen as an older Zen", AMD_AVX512, "Zen", {"SkylakeX"}},
    {"Zen 5, not known", AMD_AVX512, "Barcelona", {"SkylakeX", "Zen", "Sandybridge"}},
    {"another architecture", SSE, "neoversen1", {}},
    {"a name in capitals", AVX512, "PRESCOTT", {"SkylakeX", "Haswell", "Sandybridge"}},
};

static void test_better(void **state) {
    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(processors); i++) {
        const char *better[CORES_MAX] = {};
        size_t n = core_better(&processors[i].features, processors[i].chosen, better);

        for (size_t j = 0; j < CORES_MAX; j++) {
            const char *wanted = processors[i].better[j];

            if ((j < n) != !!wanted)
                fail_msg("%s: %zu better cores", processors[i].processor, n);
            if (wanted)
                assert_string_equal(better[j], wanted);
        }
    }
}

static void test_lesser(void **state) {
    (void)state;
    assert_true(core_is_lesser("Prescott", "Haswell"));
    assert_true(core_is_lesser("haswell", "SKYLAKEX"));
    assert_false(core_is_lesser("Haswell", "Zen"));
    assert_false(core_is_lesser("Zen", "Haswell"));
    assert_false(core_is_lesser("SkylakeX", "Haswell"));
    assert_false(core_is_lesser("a later one", "SkylakeX"));
    assert_false(core_is_lesser("", "SkylakeX"));
}

/* The features that the program reads are a chain: each needs the one before. */
static void test_this_processor(void **state) {
    struct cpu_features features;

    (void)state;
    cpu_features_read(&features);
    assert_true(features.avx || !features.avx2);
    assert_true(features.avx2 || !features.avx512);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_better),
        cmocka_unit_test(test_lesser),
        cmocka_unit_test(test_this_processor),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
