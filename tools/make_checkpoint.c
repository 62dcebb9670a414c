// SPDX-License-Identifier: Apache-2.0
/*
 * make-checkpoint: an OLMoE checkpoint with random weights, of any geometry, for measuring.
 *
 * Weights are normal with deviation 0.02, norms are 1. A tensor's values follow from the seed and
 * its number alone, so shards are written side by side and the same arguments give the same bytes.
 */
#include "base/cleanup.h"
#include "base/dtype.h"
#include "base/file.h"
#include "base/macros.h"
#include "base/str.h"

#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <inttypes.h>
#include <math.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdint.h>
#include <string.h>

#define MAX_SHARDS 512
#define BUFFER_SIZE ((size_t)8 << 20)
#define N_QUANTILES 65536
#define TOKENIZER_MAX ((size_t)256 << 20)

enum option_id {
    HIDDEN,
    INTERMEDIATE,
    LAYERS,
    EXPERTS,
    TOP_K,
    HEADS,
    KV_HEADS,
    VOCAB,
    POSITIONS,
    SEED,
    SHARD_MIB,
    JOBS,
    N_NUMBERS,
    TOKENIZER = N_NUMBERS,
    FLOAT32,
    HELP
};

static const struct {
    const char *name, *help;
    uint64_t value, max;
} numbers[N_NUMBERS] = {
    [HIDDEN] = {"hidden", "hidden size", 2048, 1 << 16},
    [INTERMEDIATE] = {"intermediate", "intermediate size of an expert", 1024, 1 << 16},
    [LAYERS] = {"layers", "layers", 16, 1024},
    [EXPERTS] = {"experts", "experts of a layer", 64, 1024},
    [TOP_K] = {"top-k", "experts of a token", 8, 1024},
    [HEADS] = {"heads", "attention heads", 16, 1024},
    [KV_HEADS] = {"kv-heads", "key and value heads", 16, 1024},
    [VOCAB] = {"vocab", "rows of the embedding", 50304, 1 << 22},
    [POSITIONS] = {"positions", "max_position_embeddings", 4096, 1 << 22},
    [SEED] = {"seed", "of the random weights", 0, UINT32_MAX},
    [SHARD_MIB] = {"shard-mib", "size at which a shard ends, MiB", 4096, 1 << 20},
    [JOBS] = {"jobs", "shards written at a time", 4, 64},
};

struct tensor {
    char name[96];
    size_t shape[2];
    int n_dims; /* 1: a norm */
    size_t n;   /* elements */
};

struct shard {
    size_t first, end; /* tensors */
    size_t size;       /* bytes of their data */
};

struct maker {
    const char *dir, *tokenizer;
    uint64_t number[N_NUMBERS];
    enum dtype dtype;
    size_t n_tensors;
    struct shard shards[MAX_SHARDS];
    size_t n_shards;
    atomic_size_t next;              /* shard to be written */
    atomic_int failed;               /* -errno */
    uint16_t quantiles[N_QUANTILES]; /* bf16 */
};

/* -------- what the checkpoint holds -------- */

static void tensor_set(struct tensor *t, size_t rows, size_t columns) {
    t->shape[0] = rows;
    t->shape[1] = columns;
    t->n_dims = columns ? 2 : 1;
    t->n = rows * MAX(columns, 1);
}

static void expert_tensor(const struct maker *m, size_t layer, size_t i, struct tensor *t) {
    static const char *const parts[] = {"gate", "up", "down"};
    size_t d = m->number[HIDDEN], middle = m->number[INTERMEDIATE];

    snprintf(t->name, sizeof(t->name), "model.layers.%zu.mlp.experts.%zu.%s_proj.weight", layer,
             i / 3, parts[i % 3]);
    if (i % 3 == 2)
        tensor_set(t, d, middle);
    else
        tensor_set(t, middle, d);
}

static void layer_tensor(const struct maker *m, size_t layer, size_t i, struct tensor *t) {
    size_t d = m->number[HIDDEN], kv = d / m->number[HEADS] * m->number[KV_HEADS];
    const struct {
        const char *name;
        size_t rows, columns;
    } parts[] = {
        {"input_layernorm", d, 0},           {"post_attention_layernorm", d, 0},
        {"self_attn.q_proj", d, d},          {"self_attn.k_proj", kv, d},
        {"self_attn.v_proj", kv, d},         {"self_attn.o_proj", d, d},
        {"self_attn.q_norm", d, 0},          {"self_attn.k_norm", kv, 0},
        {"mlp.gate", m->number[EXPERTS], d},
    };

    if (i >= ARRAY_SIZE(parts)) {
        expert_tensor(m, layer, i - ARRAY_SIZE(parts), t);
        return;
    }
    snprintf(t->name, sizeof(t->name), "model.layers.%zu.%s.weight", layer, parts[i].name);
    tensor_set(t, parts[i].rows, parts[i].columns);
}

static size_t tensors_per_layer(const struct maker *m) {
    return 9 + 3 * m->number[EXPERTS];
}

/* The embedding, the layers, the last norm, the head. */
static void tensor_at(const struct maker *m, size_t i, struct tensor *t) {
    size_t d = m->number[HIDDEN], vocab = m->number[VOCAB], each = tensors_per_layer(m);

    if (i == 0) {
        snprintf(t->name, sizeof(t->name), "model.embed_tokens.weight");
        tensor_set(t, vocab, d);
    } else if (i == m->n_tensors - 2) {
        snprintf(t->name, sizeof(t->name), "model.norm.weight");
        tensor_set(t, d, 0);
    } else if (i == m->n_tensors - 1) {
        snprintf(t->name, sizeof(t->name), "lm_head.weight");
        tensor_set(t, vocab, d);
    } else {
        layer_tensor(m, (i - 1) / each, (i - 1) % each, t);
    }
}

static int plan_shards(struct maker *m) {
    size_t limit = (size_t)m->number[SHARD_MIB] << 20;
    struct shard *shard = NULL;

    m->n_tensors = 3 + m->number[LAYERS] * tensors_per_layer(m);
    for (size_t i = 0; i < m->n_tensors; i++) {
        struct tensor t;
        size_t size;

        tensor_at(m, i, &t);
        size = t.n * dtype_size(m->dtype);
        if (!shard || shard->size + size > limit) {
            if (m->n_shards == MAX_SHARDS)
                return -E2BIG;
            shard = &m->shards[m->n_shards++];
            *shard = (struct shard){.first = i};
        }
        shard->end = i + 1;
        shard->size += size;
    }
    return 0;
}

/* -------- values -------- */

/* splitmix64 (Steele, Lea, Flood 2014) */
static uint64_t next_random(uint64_t *state) {
    uint64_t z = *state += 0x9e3779b97f4a7c15;

    z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9;
    z = (z ^ z >> 27) * 0x94d049bb133111eb;
    return z ^ z >> 31;
}

/* Values to draw from, by Box and Muller's transform: four to 64 random bits, and no logarithm. */
static void make_quantiles(struct maker *m) {
    uint64_t state = 1;

    for (size_t i = 0; i < N_QUANTILES; i++) {
        double u = (double)(next_random(&state) >> 11) * 0x1p-53;
        double v = (double)(next_random(&state) >> 11) * 0x1p-53;

        m->quantiles[i] = f32_to_bf16((float)(0.02 * sqrt(-2 * log(1 - u)) * cos(2 * M_PI * v)));
    }
}

/* @n values, a multiple of 4 but at a tensor's end. */
static void fill(const struct maker *m, const struct tensor *t, uint64_t *state, void *to,
                 size_t n) {
    for (size_t i = 0; i < n; i += 4) {
        uint64_t random = next_random(state);

        for (size_t k = i; k < n && k < i + 4; k++, random >>= 16) {
            uint16_t h = t->n_dims == 1 ? f32_to_bf16(1) : m->quantiles[random % N_QUANTILES];

            if (m->dtype == DTYPE_F32)
                ((float *)to)[k] = bf16_to_f32(h);
            else
                ((uint16_t *)to)[k] = h;
        }
    }
}

/* -------- files -------- */

static char *path_in(const struct maker *m, const char *name) {
    return str_format("%s/%s", m->dir, name);
}

static char *shard_name(const struct maker *m, size_t i) {
    return str_format("model-%05zu-of-%05zu.safetensors", i + 1, m->n_shards);
}

static int write_header(const struct maker *m, const struct shard *shard, int fd) {
    struct strbuf header = {};
    uint64_t size;
    size_t at = 0;
    int r = -ENOMEM;

    strbuf_puts(&header, "{\"__metadata__\":{\"format\":\"pt\"}");
    for (size_t i = shard->first; i < shard->end; i++) {
        struct tensor t;
        size_t bytes;

        tensor_at(m, i, &t);
        bytes = t.n * dtype_size(m->dtype);
        strbuf_printf(&header, ",\"%s\":{\"dtype\":\"%s\",\"shape\":[%zu", t.name,
                      dtype_name(m->dtype), t.shape[0]);
        if (t.n_dims == 2)
            strbuf_printf(&header, ",%zu", t.shape[1]);
        strbuf_printf(&header, "],\"data_offsets\":[%zu,%zu]}", at, at + bytes);
        at += bytes;
    }
    strbuf_puts(&header, "}");
    while (!header.failed && header.length % 8)
        strbuf_puts(&header, " ");
    if (!header.failed) {
        size = header.length; /* little end first, as this machine has it */
        r = file_write_all(fd, &size, sizeof(size));
        if (r == 0)
            r = file_write_all(fd, header.data, header.length);
    }
    strbuf_done(&header);
    return r;
}

static int write_tensor(const struct maker *m, size_t i, int fd, void *buffer) {
    size_t at_once = BUFFER_SIZE / dtype_size(m->dtype);
    uint64_t state = (m->number[SEED] << 32) + i;
    struct tensor t;
    int r = 0;

    tensor_at(m, i, &t);
    for (size_t at = 0; at < t.n && r == 0; at += at_once) {
        size_t n = MIN(t.n - at, at_once);

        fill(m, &t, &state, buffer, n);
        r = file_write_all(fd, buffer, n * dtype_size(m->dtype));
    }
    return r;
}

static int write_shard(const struct maker *m, size_t i) {
    cleanup(freep) char *name = shard_name(m, i);
    cleanup(freep) char *path = name ? path_in(m, name) : NULL;
    cleanup(freep) void *buffer = malloc(BUFFER_SIZE);
    cleanup(closep) int fd = -1;
    int r;

    if (!path || !buffer)
        return -ENOMEM;
    fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
    if (fd < 0)
        return -errno;
    r = write_header(m, &m->shards[i], fd);
    for (size_t t = m->shards[i].first; t < m->shards[i].end && r == 0; t++)
        r = write_tensor(m, t, fd, buffer);
    return r;
}

static void *write_shards(void *arg) {
    struct maker *m = arg;
    size_t i;

    while (m->failed == 0 && (i = atomic_fetch_add(&m->next, 1)) < m->n_shards) {
        int r = write_shard(m, i);

        if (r < 0)
            m->failed = r;
    }
    return NULL;
}

static int write_data(struct maker *m) {
    pthread_t threads[64];
    size_t n = 0;

    while (n + 1 < m->number[JOBS] && n + 1 < m->n_shards &&
           pthread_create(&threads[n], NULL, write_shards, m) == 0)
        n++;
    write_shards(m);
    while (n > 0)
        pthread_join(threads[--n], NULL);
    return m->failed;
}

/* Writes what @text holds and frees it. */
static int write_text(const struct maker *m, const char *name, struct strbuf *text) {
    cleanup(freep) char *path = path_in(m, name);
    int r = path && !text->failed ? file_replace(path, text->data, text->length) : -ENOMEM;

    strbuf_done(text);
    return r;
}

static int write_index(const struct maker *m) {
    struct strbuf text = {};
    size_t total = 0;

    for (size_t i = 0; i < m->n_shards; i++)
        total += m->shards[i].size;
    strbuf_printf(&text, "{\"metadata\":{\"total_size\":%zu},\"weight_map\":{", total);
    for (size_t i = 0; i < m->n_shards; i++) {
        cleanup(freep) char *name = shard_name(m, i);

        for (size_t k = m->shards[i].first; k < m->shards[i].end; k++) {
            struct tensor t;

            tensor_at(m, k, &t);
            strbuf_printf(&text, "%s\n\"%s\":\"%s\"", k ? "," : "", t.name, name ? name : "");
        }
    }
    strbuf_puts(&text, "\n}}\n");
    return write_text(m, "model.safetensors.index.json", &text);
}

static int write_config(const struct maker *m) {
    struct strbuf text = {};

    strbuf_puts(&text, "{\"architectures\":[\"OlmoeForCausalLM\"],\"model_type\":\"olmoe\",\n"
                       "\"attention_bias\":false,\"clip_qkv\":null,\"hidden_act\":\"silu\",\n"
                       "\"norm_topk_prob\":false,\"rms_norm_eps\":1e-05,\"rope_scaling\":null,\n"
                       "\"rope_theta\":10000.0,\"tie_word_embeddings\":false,\n");
    strbuf_printf(&text,
                  "\"hidden_size\":%" PRIu64 ",\"intermediate_size\":%" PRIu64 ",\n"
                  "\"num_hidden_layers\":%" PRIu64 ",\"num_experts\":%" PRIu64 ",\n"
                  "\"num_experts_per_tok\":%" PRIu64 ",\"num_attention_heads\":%" PRIu64 ",\n"
                  "\"num_key_value_heads\":%" PRIu64 ",\"vocab_size\":%" PRIu64 ",\n"
                  "\"max_position_embeddings\":%" PRIu64 ",\"pad_token_id\":1,\n"
                  "\"eos_token_id\":%" PRIu64 ",\"torch_dtype\":\"%s\"}\n",
                  m->number[HIDDEN], m->number[INTERMEDIATE], m->number[LAYERS], m->number[EXPERTS],
                  m->number[TOP_K], m->number[HEADS], m->number[KV_HEADS], m->number[VOCAB],
                  m->number[POSITIONS], MIN((uint64_t)50279, m->number[VOCAB] - 1),
                  m->dtype == DTYPE_F32 ? "float32" : "bfloat16");
    return write_text(m, "config.json", &text);
}

static int copy_tokenizer(const struct maker *m) {
    cleanup(freep) char *path = path_in(m, "tokenizer.json"), *data = NULL;
    size_t size;
    int r;

    if (!m->tokenizer)
        return 0;
    if (!path)
        return -ENOMEM;
    r = file_read(m->tokenizer, TOKENIZER_MAX, &data, &size);
    return r < 0 ? r : file_replace(path, data, size);
}

static int make(struct maker *m) {
    int r = plan_shards(m);

    make_quantiles(m);
    if (r == 0)
        r = dir_make(m->dir);
    if (r == 0)
        r = copy_tokenizer(m);
    if (r == 0)
        r = write_config(m);
    if (r == 0)
        r = write_index(m);
    return r < 0 ? r : write_data(m);
}

/* -------- arguments -------- */

static void usage(FILE *out) {
    fputs("usage: make-checkpoint [OPTION=N]... DIRECTORY\n"
          "Writes an OLMoE checkpoint with random weights.\n\n",
          out);
    for (int i = 0; i < N_NUMBERS; i++)
        fprintf(out, "  --%-14s %s (%" PRIu64 ")\n", numbers[i].name, numbers[i].help,
                numbers[i].value);
    fputs("  --tokenizer FILE copied as tokenizer.json (none)\n"
          "  --float32        weights as float32 (bfloat16)\n",
          out);
}

static int parse(struct maker *m, int argc, char **argv) {
    struct option options[N_NUMBERS + 4] = {};
    int id;

    for (int i = 0; i < N_NUMBERS; i++) {
        options[i] = (struct option){numbers[i].name, required_argument, NULL, i};
        m->number[i] = numbers[i].value;
    }
    options[N_NUMBERS] = (struct option){"tokenizer", required_argument, NULL, TOKENIZER};
    options[N_NUMBERS + 1] = (struct option){"float32", no_argument, NULL, FLOAT32};
    options[N_NUMBERS + 2] = (struct option){"help", no_argument, NULL, HELP};
    while ((id = getopt_long(argc, argv, "", options, NULL)) != -1) {
        if (id == TOKENIZER) {
            m->tokenizer = optarg;
        } else if (id == FLOAT32) {
            m->dtype = DTYPE_F32;
        } else if (id == HELP) {
            usage(stdout);
            exit(EXIT_SUCCESS);
        } else if (id >= N_NUMBERS || str_parse_u64(optarg, numbers[id].max, &m->number[id]) < 0 ||
                   (m->number[id] == 0 && id != SEED)) {
            if (id < N_NUMBERS)
                fprintf(stderr, "make-checkpoint: '%s' is no value for --%s\n", optarg,
                        numbers[id].name);
            return -EINVAL;
        }
    }
    if (optind + 1 != argc) {
        usage(stderr);
        return -EINVAL;
    }
    m->dir = argv[optind];
    return 0;
}

static int check_geometry(const struct maker *m) {
    const uint64_t *n = m->number;

    if (n[HIDDEN] % n[HEADS] == 0 && n[HIDDEN] / n[HEADS] % 2 == 0 && n[HEADS] % n[KV_HEADS] == 0 &&
        n[TOP_K] <= n[EXPERTS])
        return 0;
    fputs("make-checkpoint: heads have to divide hidden, kv-heads to divide heads; top-k is at "
          "most experts\n",
          stderr);
    return -EINVAL;
}

int main(int argc, char **argv) {
    cleanup(freep) struct maker *m = calloc(1, sizeof(*m));
    int r;

    if (!m)
        return EXIT_FAILURE;
    m->dtype = DTYPE_BF16;
    if (parse(m, argc, argv) < 0 || check_geometry(m) < 0)
        return 2;
    r = make(m);
    if (r < 0) {
        fprintf(stderr, "make-checkpoint: cannot write '%s': %s\n", m->dir, strerror(-r));
        return EXIT_FAILURE;
    }
    return EXIT_SUCCESS;
}
