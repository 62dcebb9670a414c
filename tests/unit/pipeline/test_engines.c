// SPDX-License-Identifier: Apache-2.0
/* What an engine does not read, or reads wrongly, is refused by the field that is to blame. */
#include "base/macros.h"
#include "base/str.h"
#include "daemon/model/arch/arch.h"
#include "daemon/pipeline/engines/engine.h"
#include "daemon/pipeline/formats/format.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#define SYM .present = true, .sym = true
#define ASYM .present = true
#define ATTENTION .groups = 1u << GROUP_QKV | 1u << GROUP_O
#define EXPERTS .groups = 1u << GROUP_DOWN

static const struct {
    const struct engine_ops *engine;
    const struct format_ops *format;
    struct quantization_config q;
    const char *field; /* "": it is read */
} rows[] = {
    {&engine_vllm, &format_gptq, {SYM, .wbits = 4, .groupsize = 64}, ""},
    {&engine_vllm, &format_gptq, {SYM, .wbits = 8, .groupsize = 32}, ""},
    {&engine_vllm, &format_gptq, {SYM, .wbits = 4, .groupsize = -1}, ""},
    {&engine_vllm, &format_gptq, {SYM, .wbits = 4, .groupsize = 128}, "groupsize"}, /* experts */
    {&engine_vllm, &format_gptq, {SYM, .wbits = 4, .groupsize = 16}, "groupsize"},
    {&engine_vllm, &format_gptq, {ASYM, .wbits = 4, .groupsize = 64}, "sym"},
    {&engine_vllm, &format_gptq, {SYM, .wbits = 3, .groupsize = 64}, "wbits"},
    {&engine_vllm,
     &format_gptq,
     {SYM, .wbits = 4, .groupsize = 64, .desc_act = true},
     "static_groups"},
    {&engine_vllm, &format_compressed_tensors, {ASYM, .wbits = 4, .groupsize = 64}, ""},
    {&engine_vllm, &format_compressed_tensors, {SYM, .wbits = 4, .groupsize = -1}, "groupsize"},
    {&engine_vllm, &format_compressed_tensors, {SYM, .wbits = 4, .groupsize = -1, ATTENTION}, ""},
    {&engine_vllm, &format_compressed_tensors, {SYM, .wbits = 8, .groupsize = 64}, "format"},
    {&engine_vllm, &format_compressed_tensors, {SYM, .wbits = 8, .groupsize = -1}, "format"},
    {&engine_vllm, &format_compressed_tensors, {SYM, .wbits = 8, .groupsize = 64, ATTENTION}, ""},
    {&engine_vllm, &format_compressed_tensors, {SYM, .wbits = 4, .groupsize = 128, ATTENTION}, ""},
    {&engine_vllm, &format_gptq, {SYM, .wbits = 8, .groupsize = 128, ATTENTION}, ""},
    {&engine_vllm, &format_gptq, {SYM, .wbits = 3, .groupsize = 64, ATTENTION}, "wbits"},
    {&engine_vllm, &format_gptq, {SYM, .wbits = 4, .groupsize = 16, ATTENTION}, "groupsize"},
    {&engine_vllm,
     &format_compressed_tensors,
     {SYM, .wbits = 8, .groupsize = 64, EXPERTS},
     "format"},
    {&engine_vllm, &format_compressed_tensors, {SYM, .wbits = 4, .groupsize = 128}, "groupsize"},
    {&engine_vllm, &format_dense, {ASYM, .wbits = 3, .groupsize = 128}, ""},
    {&engine_vllm, &format_gguf, {SYM, .wbits = 4, .groupsize = 32}, "format"},
    {&engine_vllm, &format_pt, {SYM, .wbits = 4, .groupsize = 32}, "format"},
    {&engine_llama_cpp, &format_gguf, {ASYM, .wbits = 3, .groupsize = 128}, ""},
    {&engine_llama_cpp, &format_gptq, {SYM, .wbits = 4, .groupsize = 128}, "format"},
    {&engine_transformers, &format_compressed_tensors, {SYM, .wbits = 2, .groupsize = 64}, ""},
    {&engine_transformers, &format_compressed_tensors, {ASYM, .wbits = 4, .groupsize = 64}, "sym"},
    {&engine_transformers, &format_dense, {ASYM, .wbits = 2, .groupsize = 64}, ""},
    {&engine_transformers, &format_gptq, {SYM, .wbits = 4, .groupsize = 64}, "format"},
    {&engine_gptqmodel, &format_gptq, {ASYM, .wbits = 3, .groupsize = 64, .desc_act = true}, ""},
    {&engine_gptqmodel, &format_gguf, {SYM, .wbits = 4, .groupsize = 64}, "format"},
};

static void test_rows(void **state) {
    const struct model_config demo = {.hidden_size = 256, .intermediate_size = 128};

    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
        struct failure failure = {};
        int r = rows[i].engine->check(rows[i].format, &rows[i].q, &demo, &failure);

        if (r != (rows[i].field[0] ? -EINVAL : 0) || !str_equal(failure.field, rows[i].field))
            fail_msg("row %zu: %d, '%s' instead of '%s': %s", i, r, failure.field, rows[i].field,
                     failure.detail);
        assert_true(!r || failure.hint[0]);
    }
}

/* Groups of 128 are right in OLMoE-1B-7B, and not refused before the model is known. */
static void test_wide_experts(void **state) {
    const struct model_config olmoe = {.hidden_size = 2048, .intermediate_size = 1024};
    const struct quantization_config q = {SYM, .wbits = 4, .groupsize = 128};
    struct failure failure = {};

    (void)state;
    assert_int_equal(engine_vllm.check(&format_gptq, &q, &olmoe, &failure), 0);
    assert_int_equal(engine_vllm.check(&format_gptq, &q, NULL, &failure), 0);
}

/* What one rule asks for is refused as what all matrices ask for. */
static void test_schemes(void **state) {
    static struct schemes schemes = {.list = {{.wbits = 4, .groupsize = 64, .sym = true},
                                              {.wbits = 8, .groupsize = 64, .sym = true}},
                                     .n = 2};
    struct quantization_config q = {SYM, .wbits = 4, .groupsize = 64, .schemes = &schemes};
    struct failure failure = {};

    (void)state;
    assert_int_equal(engine_check(&engine_vllm, &format_gptq, &q, NULL, &failure), 0);
    schemes.list[1].wbits = 3;
    assert_int_equal(engine_check(&engine_vllm, &format_gptq, &q, NULL, &failure), -EINVAL);
    assert_string_equal(failure.field, "wbits");
    schemes.list[1].wbits = SCHEME_PLAIN;
    assert_int_equal(engine_check(&engine_vllm, &format_gptq, &q, NULL, &failure), 0);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_rows),
        cmocka_unit_test(test_wide_experts),
        cmocka_unit_test(test_schemes),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
