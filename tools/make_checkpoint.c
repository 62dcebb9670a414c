// SPDX-License-Identifier: Apache-2.0
/* quantd-make-checkpoint: the command line of random_checkpoint.h. */
#include "base/clock.h"
#include "base/str.h"
#include "tools/random_checkpoint.h"

#include <errno.h>
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define EXIT_USAGE 2
#define SHARD_BYTES ((uint64_t)2 << 30)

struct settings {
    struct random_checkpoint what;
    const char *dir;
};

static const struct number_option {
    const char *name, *help;
    size_t offset; /* in struct model_config */
} numbers[] = {
    {"hidden", "hidden size", offsetof(struct model_config, hidden_size)},
    {"intermediate", "width of an expert", offsetof(struct model_config, intermediate_size)},
    {"layers", "layers", offsetof(struct model_config, num_hidden_layers)},
    {"experts", "experts of a layer", offsetof(struct model_config, num_experts)},
    {"experts-per-token", "experts that a token visits",
     offsetof(struct model_config, num_experts_per_tok)},
    {"heads", "attention heads", offsetof(struct model_config, num_attention_heads)},
    {"kv-heads", "heads of keys and values; as many as heads",
     offsetof(struct model_config, num_key_value_heads)},
    {"vocab", "vocabulary", offsetof(struct model_config, vocab_size)},
    {"positions", "longest window", offsetof(struct model_config, max_position_embeddings)},
};

enum {
    OPTION_PRESET = ARRAY_SIZE(numbers),
    OPTION_DTYPE,
    OPTION_SEED,
    OPTION_TIED,
    OPTION_CLIP,
    OPTION_NORM,
    OPTION_TOKENIZER,
    OPTION_SHARD,
    OPTION_THREADS,
    OPTION_HELP,
    N_OPTIONS,
};

static const struct other_option {
    const char *name, *value, *help;
} others[] = {
    {"olmoe-1b-7b", NULL, "the geometry of the released model: 6.9 G parameters, 13.8 GB"},
    {"dtype", "TYPE", "bf16, f16 or f32; bf16"},
    {"seed", "N", "of the random numbers; 0"},
    {"tied", NULL, "the head is the embedding"},
    {"clip-qkv", "X", "clip_qkv; none"},
    {"norm-topk", NULL, "the weights of a token's experts add up to 1"},
    {"tokenizer", "FILE", "tokenizer.json to copy; without it one of bytes is made"},
    {"shard-bytes", "N", "tensors of a file; 2147483648"},
    {"threads", "N", "threads; one per processor"},
    {"help", NULL, "this text"},
};

static const struct model_config small = {
    .hidden_size = 256,
    .intermediate_size = 128,
    .num_hidden_layers = 3,
    .num_attention_heads = 4,
    .num_experts = 16,
    .num_experts_per_tok = 4,
    .vocab_size = 4096,
    .max_position_embeddings = 512,
};

static const struct model_config olmoe_1b_7b = {
    .hidden_size = 2048,
    .intermediate_size = 1024,
    .num_hidden_layers = 16,
    .num_attention_heads = 16,
    .num_experts = 64,
    .num_experts_per_tok = 8,
    .vocab_size = 50304,
    .max_position_embeddings = 4096,
};

static void print_help(void) {
    printf("usage: quantd-make-checkpoint [OPTION ...] DIR\n\n"
           "Writes an OLMoE model of random weights to the new folder DIR. The same options give\n"
           "the same bytes.\n\n");
    for (size_t i = 0; i < ARRAY_SIZE(numbers); i++) {
        const int *value = (const int *)((const char *)&small + numbers[i].offset);

        printf("  --%s N%*s%s", numbers[i].name, (int)(19 - strlen(numbers[i].name)), "",
               numbers[i].help);
        if (*value)
            printf("; %d", *value);
        putchar('\n');
    }
    for (size_t i = 0; i < ARRAY_SIZE(others); i++) {
        const char *value = others[i].value ? others[i].value : "";

        printf("  --%s %s%*s%s\n", others[i].name, value,
               (int)(20 - strlen(others[i].name) - strlen(value)), "", others[i].help);
    }
}

static int number(const char *name, const char *text, uint64_t max, uint64_t *ret_value,
                  struct failure *failure) {
    if (str_parse_u64(text, max, ret_value) == 0)
        return 0;
    return failure_set(failure, -EINVAL, "invalid_option", "see --help",
                       "option '--%s' is not a number from 0 to %llu", name,
                       (unsigned long long)max);
}

static int set_dtype(enum dtype *dtype, const char *text, struct failure *failure) {
    static const struct {
        const char *name;
        enum dtype dtype;
    } names[] = {{"bf16", DTYPE_BF16}, {"f16", DTYPE_F16}, {"f32", DTYPE_F32}};

    for (size_t i = 0; i < ARRAY_SIZE(names); i++) {
        if (str_equal(names[i].name, text)) {
            *dtype = names[i].dtype;
            return 0;
        }
    }
    return failure_set(failure, -EINVAL, "invalid_option", "take bf16, f16 or f32",
                       "no type of weights is called '%s'", text);
}

static int set_clip(float *clip, const char *text, struct failure *failure) {
    double value;

    if (str_parse_double(text, &value) || value <= 0)
        return failure_set(failure, -EINVAL, "invalid_option", "see --help",
                           "option '--clip-qkv' is not a positive number");
    *clip = (float)value;
    return 0;
}

static int set_other(struct random_checkpoint *what, int option, const char *text,
                     struct failure *failure) {
    uint64_t value = 0;
    int r = 0;

    switch (option) {
    case OPTION_DTYPE:
        return set_dtype(&what->dtype, text, failure);
    case OPTION_CLIP:
        return set_clip(&what->config.clip_qkv, text, failure);
    case OPTION_SEED:
        return number("seed", text, UINT64_MAX, &what->seed, failure);
    case OPTION_SHARD:
        return number("shard-bytes", text, INT64_MAX, &what->shard_bytes, failure);
    case OPTION_THREADS:
        r = number("threads", text, 256, &value, failure);
        what->n_threads = (int)value;
        return r;
    case OPTION_TIED:
        what->config.tie_word_embeddings = true;
        return 0;
    case OPTION_NORM:
        what->config.norm_topk_prob = true;
        return 0;
    case OPTION_TOKENIZER:
        what->tokenizer = text;
        return 0;
    default:
        return failure_set(failure, -EINVAL, "usage", "see --help", "unknown option");
    }
}

/* The preset replaces the default of every number; what is given beside it holds. */
static void use_preset(struct model_config *config, const struct model_config *preset) {
    for (size_t i = 0; i < ARRAY_SIZE(numbers); i++)
        memcpy((char *)config + numbers[i].offset, (const char *)preset + numbers[i].offset,
               sizeof(int));
}

static void fill_long_options(struct option *options) {
    for (size_t i = 0; i < N_OPTIONS; i++) {
        bool is_number = i < ARRAY_SIZE(numbers);
        const struct other_option *other = &others[is_number ? 0 : i - ARRAY_SIZE(numbers)];

        options[i] = (struct option){
            .name = is_number ? numbers[i].name : other->name,
            .has_arg = is_number || other->value ? required_argument : no_argument,
            .val = (int)i,
        };
    }
}

/* One pass over the words for the preset, one for the rest. Return: 0, -EINVAL, 1: help. */
static int read_options(struct settings *settings, int argc, char **argv, bool preset,
                        struct failure *failure) {
    struct option options[N_OPTIONS + 1] = {};
    struct model_config *config = &settings->what.config;
    int option, r = 0;

    fill_long_options(options);
    optind = 1;
    while (!r && (option = getopt_long(argc, argv, "", options, NULL)) >= 0) {
        uint64_t value = 0;

        if (option == OPTION_HELP)
            return 1;
        if (option == '?')
            return failure_set(failure, -EINVAL, "usage", NULL, "see --help");
        if (option == OPTION_PRESET && preset)
            use_preset(config, &olmoe_1b_7b);
        if (option == OPTION_PRESET || preset)
            continue;
        if (option >= (int)ARRAY_SIZE(numbers)) {
            r = set_other(&settings->what, option, optarg, failure);
            continue;
        }
        r = number(numbers[option].name, optarg, INT32_MAX, &value, failure);
        *(int *)((char *)config + numbers[option].offset) = (int)value;
    }
    if (!r && optind != argc - 1)
        return failure_set(failure, -EINVAL, "usage", "see --help", "one folder is needed");
    settings->dir = argv[optind];
    return r;
}

int main(int argc, char **argv) {
    struct settings settings = {
        .what = {.config = small, .dtype = DTYPE_BF16, .shard_bytes = SHARD_BYTES},
    };
    struct model_config *config = &settings.what.config;
    struct random_checkpoint_facts facts;
    double started = clock_monotonic();
    struct failure failure = {};
    int r;

    r = read_options(&settings, argc, argv, true, &failure);
    if (!r)
        r = read_options(&settings, argc, argv, false, &failure);
    if (r == 1) {
        print_help();
        return EXIT_SUCCESS;
    }
    if (!r && config->num_key_value_heads == 0)
        config->num_key_value_heads = config->num_attention_heads;
    if (r == 0)
        r = random_checkpoint_write(&settings.what, settings.dir, &facts, &failure);
    if (r) {
        fprintf(stderr, "quantd-make-checkpoint: %s%s%s\n", failure.detail,
                failure.hint[0] ? "; " : "", failure.hint);
        return r == -EINVAL ? EXIT_USAGE : EXIT_FAILURE;
    }
    printf("%s: %llu parameters, %.3f GB in %d files, %.1f s\n", settings.dir,
           (unsigned long long)facts.parameters, (double)facts.bytes * 1e-9, facts.n_shards,
           clock_monotonic() - started);
    return EXIT_SUCCESS;
}
