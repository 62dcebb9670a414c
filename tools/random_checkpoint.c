// SPDX-License-Identifier: Apache-2.0
#include "tools/random_checkpoint.h"

#include "base/cleanup.h"
#include "base/file.h"
#include "base/json.h"
#include "base/str.h"
#include "base/task.h"
#include "daemon/model/arch/config_read.h"
#include "daemon/model/tokenizer/tokenizer.h"
#include "tools/byte_tokenizer.h"
#include "tools/layout.h"
#include "tools/noise.h"

#include <errno.h>
#include <fcntl.h>
#include <math.h>
#include <sched.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/statvfs.h>

#define CHUNK_BYTES ((size_t)1 << 20) /* what a thread holds: it fits its cache */
#define TOKENIZER_MAX (64 << 20)
#define THREADS_MAX 256

/* What the threads share: each takes the next tensor until none is left. */
struct writing {
    const struct random_checkpoint *what;
    const char *dir;
    struct layout layout;
    struct noise noise[N_FILLS];
    _Atomic size_t next; /* tensor */
    atomic_bool failed;  /* one of the threads did: the others stop */
};

struct writer {
    struct writing *writing;
    struct task task;
    struct failure failure;
};

/* ---- tensors ---- */

static int write_at(int fd, const void *data, size_t size, uint64_t offset) {
    const char *at = data;

    while (size > 0) {
        ssize_t n = pwrite(fd, at, size, (off_t)offset);

        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return -errno;
        at += n;
        offset += n;
        size -= n;
    }
    return 0;
}

static int write_tensor(const struct writing *w, size_t i, void *chunk, struct failure *failure) {
    const struct planned_tensor *planned = &w->layout.planned[i];
    const struct tensor *t = &w->layout.tensors[i];
    cleanup(freep) char *path = str_format("%s/%s", w->dir, w->layout.shards[planned->shard].name);
    cleanup(closep) int fd = path ? open(path, O_WRONLY | O_CLOEXEC) : -1;
    size_t element = dtype_size(t->dtype), step = CHUNK_BYTES / element;

    if (!path)
        return failure_oom(failure);
    if (fd < 0)
        return failure_errno(failure, -errno, "cannot open", path);
    for (size_t at = 0; at < t->n; at += step) {
        size_t n = MIN(step, t->n - at);
        int r;

        noise_fill(&w->noise[planned->fill], noise_mix(w->what->seed) ^ i, at, chunk, n);
        r = write_at(fd, chunk, n * element, planned->offset + at * element);
        if (r)
            return failure_errno(failure, r, "cannot write", path);
    }
    return 0;
}

static int writer_main(void *ctx) {
    struct writer *writer = ctx;
    struct writing *w = writer->writing;
    cleanup(freep) void *chunk = malloc(CHUNK_BYTES);
    int r = chunk ? 0 : failure_oom(&writer->failure);

    while (!r && !atomic_load(&w->failed)) {
        size_t i = atomic_fetch_add(&w->next, 1);

        if (i >= w->layout.n)
            break;
        r = write_tensor(w, i, chunk, &writer->failure);
    }
    if (r)
        atomic_store(&w->failed, true);
    return r;
}

/* The processors that this process may use. */
static int processors(void) {
    cpu_set_t set;

    return sched_getaffinity(0, sizeof(set), &set) ? 1 : CPU_COUNT(&set);
}

static int write_tensors(struct writing *w, struct failure *failure) {
    int n = MIN(w->what->n_threads > 0 ? w->what->n_threads : processors(), THREADS_MAX), r = 0;
    cleanup(freep) struct writer *writers = calloc(n, sizeof(*writers));

    if (!writers)
        return failure_oom(failure);
    for (int i = 0; i < n && !r; i++) {
        writers[i].writing = w;
        r = task_start(&writers[i].task, writer_main, &writers[i]);
        if (r)
            atomic_store(&w->failed, true);
    }
    if (r)
        failure_errno(failure, r, "cannot start", "a thread");
    for (int i = 0; i < n; i++) {
        int result = task_finish(&writers[i].task);

        if (result && !r) {
            r = result;
            *failure = writers[i].failure;
        }
    }
    return r;
}

static int noise_open(struct writing *w) {
    const struct model_config *c = &w->what->config;
    double hidden = 1 / sqrt(c->hidden_size);
    const double std[N_FILLS] = {
        [FILL_ONES] = 0,
        [FILL_EMBEDDING] = c->tie_word_embeddings ? hidden : 1,
        [FILL_HIDDEN] = hidden,
        [FILL_EXPERT] = 1 / sqrt(c->intermediate_size),
    };
    int r = 0;

    for (int i = 0; i < N_FILLS && !r; i++)
        r = noise_init(&w->noise[i], w->what->dtype, i == FILL_ONES, std[i]);
    return r;
}

/* ---- files ---- */

static int write_json(const char *dir, const char *name, json_t *value, struct failure *failure) {
    cleanup(json_decrefp) json_t *owned = value;
    cleanup(freep) char *path = str_format("%s/%s", dir, name);
    cleanup(freep) char *text = owned ? json_text(owned, JSON_INDENT(2) | JSON_SORT_KEYS) : NULL;
    int r;

    if (!path || !text)
        return failure_oom(failure);
    r = file_replace(path, text, strlen(text));
    return r ? failure_errno(failure, r, "cannot write", path) : 0;
}

static json_t *config_json(const struct random_checkpoint *what) {
    static const char *const names[N_DTYPES] = {
        [DTYPE_F32] = "float32", [DTYPE_F16] = "float16", [DTYPE_BF16] = "bfloat16"};
    const struct model_config *c = &what->config;
    json_t *clip = c->clip_qkv > 0 ? json_real(c->clip_qkv) : json_null();

    return json_pack(
        "{s:[s] s:b s:f s:o s:s s:i s:i s:i s:s s:b s:i s:i s:i s:i s:i s:f s:n s:f s:b s:s s:i}",
        "architectures", "OlmoeForCausalLM", "attention_bias", 0, "attention_dropout", 0.0,
        "clip_qkv", clip, "hidden_act", "silu", "hidden_size", c->hidden_size, "intermediate_size",
        c->intermediate_size, "max_position_embeddings", c->max_position_embeddings, "model_type",
        "olmoe", "norm_topk_prob", c->norm_topk_prob, "num_attention_heads", c->num_attention_heads,
        "num_experts", c->num_experts, "num_experts_per_tok", c->num_experts_per_tok,
        "num_hidden_layers", c->num_hidden_layers, "num_key_value_heads", c->num_key_value_heads,
        "rms_norm_eps", 1e-5, "rope_scaling", "rope_theta", 10000.0, "tie_word_embeddings",
        c->tie_word_embeddings, "torch_dtype", names[what->dtype], "vocab_size", c->vocab_size);
}

static int copy_tokenizer(const struct random_checkpoint *what, const char *path,
                          struct failure *failure) {
    cleanup(tokenizer_freep) struct tokenizer *tokenizer = NULL;
    cleanup(freep) char *text = NULL;
    size_t size;
    int r;

    r = tokenizer_open(NULL, what->tokenizer, &tokenizer, failure);
    if (r)
        return r;
    if (tokenizer_n_ids(tokenizer) > what->config.vocab_size)
        return failure_set(failure, -EINVAL, "invalid_option", "take a larger vocabulary",
                           "tokenizer '%s' gives ids up to %d, the vocabulary is of %d",
                           what->tokenizer, tokenizer_n_ids(tokenizer) - 1,
                           what->config.vocab_size);
    r = file_read(what->tokenizer, TOKENIZER_MAX, &text, &size);
    if (r)
        return failure_errno(failure, r, "cannot read", what->tokenizer);
    r = file_replace(path, text, size);
    return r ? failure_errno(failure, r, "cannot write", path) : 0;
}

/* Makes the folder; config.json is checked by the reader that will open the model. */
static int write_beginning(const struct random_checkpoint *what, const char *dir,
                           struct model_config *ret_config, struct failure *failure) {
    cleanup(freep) char *config = str_format("%s/config.json", dir);
    cleanup(freep) char *tokenizer = str_format("%s/tokenizer.json", dir);
    int r;

    if (!config || !tokenizer)
        return failure_oom(failure);
    r = dir_make(dir);
    if (r)
        return failure_errno(failure, r, "cannot make the folder", dir);
    if (access(config, F_OK) == 0)
        return failure_set(failure, -EEXIST, "exists", "name a new folder",
                           "folder '%s' holds a model already", dir);
    r = write_json(dir, "config.json", config_json(what), failure);
    if (!r) {
        r = model_config_read(NULL, dir, ret_config, failure);
        if (!r && what->tokenizer)
            r = copy_tokenizer(what, tokenizer, failure);
        else if (!r)
            r = byte_tokenizer_write(tokenizer, what->config.vocab_size, failure);
        if (r)
            unlink(config); /* nothing of a model is there: the folder may be used again */
    }
    return r;
}

static int check_space(const struct writing *w, struct failure *failure) {
    struct statvfs st;
    double free_bytes;

    if (statvfs(w->dir, &st))
        return 0; /* writing will fail then */
    free_bytes = (double)st.f_bavail * (double)st.f_frsize;
    if (free_bytes >= (double)w->layout.bytes)
        return 0;
    return failure_set(failure, -ENOSPC, "disk_full", "free space, or name another folder",
                       "'%s' has %.1f GB free, the model takes %.1f GB", w->dir, free_bytes * 1e-9,
                       (double)w->layout.bytes * 1e-9);
}

/* Every shard with its header and size; the tensors are holes. */
static int begin_shards(const struct writing *w, struct failure *failure) {
    for (int i = 0; i < w->layout.n_shards; i++) {
        const struct planned_shard *shard = &w->layout.shards[i];
        cleanup(freep) char *path = str_format("%s/%s", w->dir, shard->name);
        cleanup(closep) int fd =
            path ? open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0640) : -1;
        int r;

        if (!path)
            return failure_oom(failure);
        r = fd < 0 ? -errno : file_write_all(fd, shard->header.data, shard->header.length);
        if (!r && ftruncate(fd, (off_t)shard->bytes))
            r = -errno;
        if (r)
            return failure_errno(failure, r, "cannot write", path);
    }
    return 0;
}

static int write_model(struct writing *w, struct failure *failure) {
    int r;

    r = layout_make(&w->what->config, w->what->dtype, w->what->shard_bytes, &w->layout, failure);
    if (!r)
        r = check_space(w, failure);
    if (!r)
        r = begin_shards(w, failure);
    if (!r && noise_open(w))
        r = failure_oom(failure);
    if (!r)
        r = write_tensors(w, failure);
    if (!r)
        r = write_json(w->dir, "model.safetensors.index.json", layout_index(&w->layout), failure);
    return r;
}

int random_checkpoint_write(const struct random_checkpoint *what, const char *dir,
                            struct random_checkpoint_facts *ret_facts, struct failure *failure) {
    struct random_checkpoint checked = *what;
    struct writing w = {.what = &checked, .dir = dir};
    int r;

    r = write_beginning(what, dir, &checked.config, failure);
    if (r)
        return r;
    r = write_model(&w, failure);
    if (!r)
        *ret_facts = (struct random_checkpoint_facts){w.layout.parameters, w.layout.bytes,
                                                      w.layout.n_shards};
    layout_done(&w.layout);
    for (int i = 0; i < N_FILLS; i++)
        noise_done(&w.noise[i]);
    return r;
}
