// SPDX-License-Identifier: Apache-2.0
/* The model card names the base model only when a hub has it, and lets no name mark it up. */
#include "base/cleanup.h"
#include "base/file.h"
#include "base/str.h"
#include "daemon/pipeline/export/card.h"
#include "daemon/pipeline/formats/format.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static const struct model_config olmoe = {.hidden_size = 2048, .intermediate_size = 1024};

/* The card of a job on @model, under @license; the caller owns it. */
static char *licensed_card_of(const char *model, const struct format_ops *format, int groupsize,
                              const struct license *license) {
    cleanup(json_decrefp) json_t *quantd =
        json_pack("{s:s s:{s:s s:i s:b s:n} s:{s:{s:f s:f s:i}}}", "quantd", "1.2.3", "params",
                  "model", model, "wbits", 4, "sym", true, "for", "perplexity", "file:a|b.txt",
                  "value", 12.5, "stderr", 0.25, "tokens", 511);
    struct params params = {
        .model = (char *)model, .wbits = 4, .groupsize = groupsize, .sym = true, .format = format};
    const struct quantization_config q = params_quantization(&params);
    struct failure failure = {};
    char *text = NULL;

    assert_int_equal(card_new(quantd, &params, &q, &olmoe, license, &text, &failure), 0);
    return text;
}

static char *card_of(const char *model, const struct format_ops *format, int groupsize) {
    return licensed_card_of(model, format, groupsize, &(struct license){});
}

static void expect(const char *card, const char *text, bool there) {
    if (!!strstr(card, text) != there)
        fail_msg("%s '%s': %s", there ? "lacks" : "has", text, card);
}

static void test_hub_model(void **state) {
    cleanup(freep) char *card = card_of("org/name-1.0@main", &format_gptq, 128);

    (void)state;
    expect(card, "---\nbase_model: org/name-1.0\nbase_model_relation: quantized\n", true);
    expect(card, "](https://huggingface.co/org/name-1.0) in the format gptq", true);
    expect(card, "| `wbits` | 4 |\n", true);
    expect(card, "| `sym` | yes |\n", true);
    expect(card, "`for`", false);
    expect(card, "| file:a\\|b.txt | 12.5000 | 0.2500 | 511 |\n", true);
    expect(card, "vllm serve", true);
    expect(card, "GPTQModel.load", true);
    expect(card, "model.gguf", false);
}

/* Names of folders are free text. */
static void test_other_models(void **state) {
    static const char *const models[] = {"olmoe-demo", "a/b/c",     "/org/name", "org/",
                                         "org/na me",  "o/n\nx: y", "job:7",     "@main/x",
                                         "[a](b)/`c`", "org/na\"me"};

    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(models); i++) {
        cleanup(freep) char *card = card_of(models[i], &format_gptq, 128);

        expect(card, "base_model", false);
        expect(card, "huggingface.co", false);
        expect(card, "\nx: y", false);
        expect(card, "[a](b)", false);
    }
}

/* Only the programs that read this very checkpoint. */
static void test_usage(void **state) {
    cleanup(freep) char *gguf = card_of("m", &format_gguf, 32);
    cleanup(freep) char *odd = card_of("m", &format_gptq, 256);
    cleanup(freep) char *pt = card_of("m", &format_pt, 32);

    (void)state;
    expect(gguf, "llama-cli -m model.gguf", true);
    expect(gguf, "library_name", false);
    expect(gguf, "vllm", false);
    expect(odd, "GPTQModel", true);
    expect(odd, "vllm serve", false);
    expect(pt, "import torch\nstate = torch.load(\"model.pt\"", true);
}

/* The card of a job on a model whose README.md is @readme; the caller owns it. */
static char *card_with(const char *readme) {
    char dir[] = "/tmp/quantd-card-XXXXXX";
    struct failure failure = {};
    struct license license;

    assert_non_null(mkdtemp(dir));
    cleanup(freep) char *path = str_format("%s/README.md", dir);

    if (readme)
        assert_int_equal(file_put(path, readme, strlen(readme)), 0);
    assert_int_equal(license_read(dir, dir, &license, &failure), 0);
    assert_int_equal(dir_remove(dir), 0);
    return licensed_card_of("org/name", &format_gptq, 128, &license);
}

static void test_license(void **state) {
    cleanup(freep) char *plain = card_with("---\nlicense: apache-2.0\ntags:\n- x\n---\n# M\n");
    cleanup(freep) char *other = card_with("--- \r\nlanguage: en\r\nlicense: \"other\"\r\n"
                                           "license_name: own-1.0\r\nlicense_link: "
                                           "https://example.org/a/LICENSE.md\r\n---\r\n");

    (void)state;
    expect(plain, "base_model_relation: quantized\nlicense: apache-2.0\nlibrary_name", true);
    expect(plain, "license_", false);
    expect(other,
           "\nlicense: other\nlicense_name: own-1.0\n"
           "license_link: https://example.org/a/LICENSE.md\nlibrary_name",
           true);
}

/* What is no plain name, or stands elsewhere, is left out. */
static void test_no_license(void **state) {
    static const char *const readmes[] = {
        NULL,
        "",
        "license: mit\n",
        "# M\n---\nlicense: mit\n---\n",
        "---\nlicense: mit\n",
        "---\nlicense:\n- mit\n---\n",
        "---\nlicense: [mit]\n---\n",
        "---\nlicense: mit # or so\n---\n",
        "---\nlicense: \"mit\\nx: y\"\n---\n",
        "---\nlicense: -\n---\n",
        "---\nlicense: 'mit\n---\n",
        "---\n license: mit\n---\n",
        "---\nlicense_name: only-a-name\n---\n",
        "---\nlicense: \xff\n---\n",
        "---\nlicense: "
        "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa\n---\n",
    };
    cleanup(freep) char *file = card_with("---\nlicense: other\nlicense_link: LICENSE\n---\n");
    cleanup(freep) char *script =
        card_with("---\nlicense: other\nlicense_link: https://x.org/[a](b)\n---\n");

    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(readmes); i++) {
        cleanup(freep) char *card = card_with(readmes[i]);

        expect(card, "license", false);
    }
    expect(file, "license_link", false); /* it is not among the files of the checkpoint */
    expect(script, "license_link", false);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_hub_model),  cmocka_unit_test(test_other_models),
        cmocka_unit_test(test_usage),      cmocka_unit_test(test_license),
        cmocka_unit_test(test_no_license),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
