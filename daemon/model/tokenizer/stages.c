// SPDX-License-Identifier: Apache-2.0
#include "daemon/model/tokenizer/stages.h"

#include "base/cleanup.h"

#include <stddef.h>

/* Sequences in sequences; more is not a tokenizer. */
#define DEPTH_MAX 8

/* Calls @read for the stage, or for each of its @list when it is a Sequence. */
static int each_stage(struct reader *reader, const json_t *stage, const char *list, int depth,
                      int (*read)(struct reader *reader, const json_t *stage)) {
    const json_t *stages = json_object_get(stage, list), *one;
    size_t i;

    if (!str_equal(type_of(stage), "Sequence"))
        return read(reader, stage);
    if (!json_is_array(stages) || depth == DEPTH_MAX)
        return broken(reader, "a Sequence has no list '%s', or is too deep", list);
    json_array_foreach(stages, i, one) {
        int r = each_stage(reader, one, list, depth + 1, read);

        if (r)
            return r;
    }
    return 0;
}

/* -- normalizer ------------------------------------------------------------------------------- */

static int read_normalizer(struct reader *reader, const json_t *normalizer) {
    if (!str_equal(type_of(normalizer), "NFC"))
        return unsupported(reader, "its normalizer is '%.64s', not NFC", type_of(normalizer));
    reader->tokenizer->nfc = true;
    return 0;
}

/* -- pre_tokenizer ---------------------------------------------------------------------------- */

static int add_split(struct reader *reader, const char *pattern) {
    struct tokenizer *tokenizer = reader->tokenizer;

    if (tokenizer->n_splits == TOKENIZER_SPLITS_MAX)
        return unsupported(reader, "its pre_tokenizer splits more than %d times",
                           TOKENIZER_SPLITS_MAX);
    return split_new(pattern, &tokenizer->splits[tokenizer->n_splits++], reader->failure);
}

static int add_regex(struct reader *reader, const char *regex) {
    cleanup(strbuf_done) struct strbuf pattern = {0};
    char unknown[128];
    int r = split_translate(regex, &pattern, unknown, sizeof(unknown));

    if (r == -ENOMEM)
        return failure_oom(reader->failure);
    if (r && !unknown[0])
        return unsupported(reader, "its pre_tokenizer Split leaves characters out");
    if (r)
        return unsupported(reader, "its pre_tokenizer Split has the pattern '%s'", unknown);
    return add_split(reader, pattern.data);
}

/*
 * A pattern that matches all of a text leaves the same words whether its matches are isolated or
 * what is between them is removed.
 */
static int read_split(struct reader *reader, const json_t *stage) {
    const json_t *pattern = json_object_get(stage, "pattern");
    const char *regex = json_string_value(json_object_get(pattern, "Regex"));
    const char *behavior = json_string_value(json_object_get(stage, "behavior"));
    bool invert = false;
    int r = get_bool(reader, stage, "invert", false, &invert);

    if (r)
        return r;
    if (!regex)
        return unsupported(reader, "its pre_tokenizer Split has no 'Regex'");
    if (!(str_equal(behavior, "Isolated") && !invert) &&
        !(str_equal(behavior, "Removed") && invert))
        return unsupported(reader, "its pre_tokenizer Split is '%.64s'%s, not Isolated",
                           behavior ? behavior : "", invert ? " and inverted" : "");
    return add_regex(reader, regex);
}

static int read_byte_level(struct reader *reader, const json_t *stage) {
    bool use_regex = true;
    int r = get_bool(reader, stage, "add_prefix_space", true, &reader->tokenizer->prefix_space);

    if (!r)
        r = get_bool(reader, stage, "use_regex", true, &use_regex);
    if (r)
        return r;
    if (reader->tokenizer->prefix_space && reader->tokenizer->n_splits > 0)
        return unsupported(reader, "its pre_tokenizer ByteLevel adds a space before each word "
                                   "('add_prefix_space')");
    reader->byte_level = true;
    return use_regex ? add_regex(reader, SPLIT_GPT2) : 0;
}

static int read_pre_tokenizer(struct reader *reader, const json_t *stage) {
    const char *type = type_of(stage);
    bool individual = false;
    int r;

    if (reader->byte_level)
        return unsupported(reader, "its pre_tokenizer has '%.64s' after ByteLevel", type);
    if (str_equal(type, "ByteLevel"))
        return read_byte_level(reader, stage);
    if (str_equal(type, "Split"))
        return read_split(reader, stage);
    if (!str_equal(type, "Digits"))
        return unsupported(reader, "its pre_tokenizer is '%.64s', not ByteLevel", type);
    r = get_bool(reader, stage, "individual_digits", false, &individual);
    return r ? r : add_split(reader, split_digits(individual));
}

/* -- post_processor --------------------------------------------------------------------------- */

/* It may add tokens before and after a text, and trim offsets: neither touches what is read. */
static int check_post_processor(struct reader *reader, const json_t *processor) {
    const char *type = type_of(processor);
    const json_t *part;
    size_t i, n = 0;

    if (str_equal(type, "ByteLevel") || str_equal(type, "RobertaProcessing") ||
        str_equal(type, "BertProcessing"))
        return 0;
    if (!str_equal(type, "TemplateProcessing"))
        return unsupported(reader, "its post_processor is '%.64s', not ByteLevel", type);
    json_array_foreach(json_object_get(processor, "single"), i, part) {
        n += json_is_object(json_object_get(part, "Sequence"));
    }
    if (n != 1)
        return unsupported(reader, "its post_processor TemplateProcessing has the text %zu times",
                           n);
    return 0;
}

int stages_read(struct reader *reader, const json_t *root) {
    const json_t *normalizer = json_object_get(root, "normalizer");
    const json_t *pre_tokenizer = json_object_get(root, "pre_tokenizer");
    const json_t *processor = json_object_get(root, "post_processor");
    int r = 0;

    if (is_set(normalizer))
        r = each_stage(reader, normalizer, "normalizers", 0, read_normalizer);
    if (!r)
        r = each_stage(reader, pre_tokenizer, "pretokenizers", 0, read_pre_tokenizer);
    if (!r && !reader->byte_level)
        r = unsupported(reader, "its pre_tokenizer has no ByteLevel");
    if (!r && is_set(processor))
        r = each_stage(reader, processor, "processors", 0, check_post_processor);
    return r;
}
