// SPDX-License-Identifier: Apache-2.0
/*
 * What torch.load() reads: the weights of the format `dense` in one file, a state dict under the
 * names of the original. It is a ZIP file with a pickle, data.pkl, of names, shapes and numbers of
 * storages, and a record of bytes for each storage (torch/serialization.py; torch/csrc/jit/
 * serialization/unpickler.cpp has the same form). The pickle has no other opcodes and classes than
 * weights_only lets in (torch/_weights_only_unpickler.py).
 */
#include "base/output/output.h"
#include "daemon/pipeline/formats/format.h"
#include "daemon/pipeline/formats/zip.h"

#include "base/cleanup.h"
#include "base/file.h"
#include "base/macros.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define ROOT "archive/" /* the folder that all records are in; any name will do */
#define RECORD_NAME_SIZE 32

/* Opcodes of pickle (pickletools of Python has their meanings). */
#define PROTO_2 "\x80\x02"
#define MARK "("
#define TUPLE "t" /* of all since MARK */
#define EMPTY_TUPLE ")"
#define REDUCE "R"   /* calls */
#define PERSID "Q"   /* the object with an id that the reader resolves: a storage */
#define SETITEMS "u" /* the pairs since MARK */
#define STOP "."
#define FALSE "\x89"
#define BININT 'J'     /* i32 */
#define LONG1 '\x8a'   /* bytes, and so many bytes */
#define BINUNICODE 'X' /* u32 bytes, and UTF-8 */
#define GLOBAL(module, name) "c" module "\n" name "\n"

#define NEW_DICT GLOBAL("collections", "OrderedDict") EMPTY_TUPLE REDUCE

struct container {
    struct output output;
    struct zip_writer zip;
    struct strbuf pickle; /* so far: the dict, and the pairs that it gets */
    uint64_t n_storages;
};

/* ---- data.pkl ---- */

static void put_bytes(struct strbuf *to, uint64_t value, int n) {
    for (int i = 0; i < n; i++) {
        char byte = (char)(value >> 8 * i);

        strbuf_append(to, &byte, 1);
    }
}

static void put_number(struct strbuf *to, uint64_t value) {
    bool small = value <= INT32_MAX;
    const char opcode = small ? BININT : LONG1;

    strbuf_append(to, &opcode, 1);
    if (!small)
        put_bytes(to, 8, 1);
    put_bytes(to, value, small ? 4 : 8);
}

static void put_text(struct strbuf *to, const char *text) {
    const char opcode = BINUNICODE;

    strbuf_append(to, &opcode, 1);
    put_bytes(to, strlen(text), 4);
    strbuf_puts(to, text);
}

/* Storage @number of @t, of which it holds all elements, on the cpu. */
static void put_storage(struct strbuf *to, const struct tensor *t, uint64_t number) {
    char text[32];

    snprintf(text, sizeof(text), "%" PRIu64, number);
    strbuf_puts(to, MARK);
    put_text(to, "storage");
    strbuf_puts(to, GLOBAL("torch", "BFloat16Storage"));
    put_text(to, text);
    put_text(to, "cpu");
    put_number(to, t->n);
    strbuf_puts(to, TUPLE PERSID);
}

/* torch._utils._rebuild_tensor_v2(storage, offset, shape, strides, requires_grad, hooks) */
static void put_tensor(struct strbuf *to, const struct tensor *t, uint64_t number) {
    uint64_t stride = t->n;

    strbuf_puts(to, GLOBAL("torch._utils", "_rebuild_tensor_v2") MARK);
    put_storage(to, t, number);
    put_number(to, 0);
    strbuf_puts(to, MARK);
    for (int i = 0; i < t->n_dims; i++)
        put_number(to, t->shape[i]);
    strbuf_puts(to, TUPLE MARK);
    for (int i = 0; i < t->n_dims; i++) {
        stride /= t->shape[i];
        put_number(to, stride);
    }
    strbuf_puts(to, TUPLE FALSE NEW_DICT TUPLE REDUCE);
}

/* ---- the file ---- */

static void container_close(struct container *container) {
    if (!container)
        return;
    zip_writer_done(&container->zip);
    strbuf_done(&container->pickle);
    output_close(&container->output);
    free(container);
}

DEFINE_CLEANUP(struct container *, container_closep, container_close)

static int container_open(const struct format_context *c, const char *path,
                          struct container **ret_container) {
    cleanup(container_closep) struct container *container = calloc(1, sizeof(*container));
    int r;

    if (!container)
        return failure_oom(c->failure);
    r = output_open(&container->output, path, O_EXCL, true, c->failure);
    if (r)
        return r;
    container->zip.output = &container->output;
    strbuf_append(&container->pickle, PROTO_2, 2);
    strbuf_puts(&container->pickle, NEW_DICT MARK);
    if (container->pickle.failed)
        return failure_oom(c->failure);
    *ret_container = steal_ptr(container);
    return 0;
}

/* The record of @t to *record, its name to @name. */
static int add_tensor(struct container *container, const struct tensor *t,
                      struct zip_record *record, char name[RECORD_NAME_SIZE]) {
    if (t->dtype != DTYPE_BF16 || t->n == 0)
        return -EINVAL;
    put_text(&container->pickle, t->name);
    put_tensor(&container->pickle, t, container->n_storages);
    if (container->pickle.failed)
        return -ENOMEM;
    snprintf(name, RECORD_NAME_SIZE, ROOT "data/%" PRIu64, container->n_storages++);
    *record = (struct zip_record){name, t->data, t->size};
    return 0;
}

static int container_add(const struct format_context *c, struct container *container,
                         const struct shard *shard) {
    size_t n = shard->n_tensors;
    cleanup(freep) struct zip_record *records = calloc(MAX(n, (size_t)1), sizeof(*records));
    cleanup(freep) char *names = calloc(MAX(n, (size_t)1), RECORD_NAME_SIZE);
    int r = records && names ? 0 : -ENOMEM;

    for (size_t i = 0; i < n && !r; i++)
        r = add_tensor(container, &shard->tensors[i], &records[i], names + i * RECORD_NAME_SIZE);
    if (!r)
        r = zip_writer_add(&container->zip, records, n);
    return r ? output_failed(&container->output, r, c->failure) : 0;
}

static int container_finish(const struct format_context *c, struct container *container,
                            char ret_sha256[SHA256_TEXT_SIZE], uint64_t *ret_size) {
    struct strbuf *pickle = &container->pickle;
    struct output *output = &container->output;
    int r;

    strbuf_puts(pickle, SETITEMS STOP);
    const struct zip_record records[] = {
        {ROOT "data.pkl", pickle->data, pickle->length},
        {ROOT "byteorder", "little", strlen("little")},
        {ROOT "version", "3\n", strlen("3\n")},
    };

    r = pickle->failed ? -ENOMEM : zip_writer_add(&container->zip, records, ARRAY_SIZE(records));
    if (!r)
        r = zip_writer_finish(&container->zip);
    *ret_size = output->size;
    if (!r)
        r = output_finish(output, ret_sha256);
    if (!r)
        r = file_sync_parent(output->path);
    return r ? output_failed(output, r, c->failure) : 0;
}

static const struct container_ops container_pt = {
    .file = "model.pt",
    .open = container_open,
    .add = container_add,
    .finish = container_finish,
    .close = container_close,
};

/* ---- the format: its tensors are those of `dense` ---- */

static int check(const struct quantization_config *q, const struct model_config *config,
                 struct failure *failure) {
    return format_dense.check(q, config, failure);
}

static int add_layer(const struct format_context *c, const struct layer_codes *layer,
                     struct shard *shard) {
    return format_dense.add_layer(c, layer, shard);
}

static int add_plain(const struct format_context *c, const struct tensor *tensor,
                     struct shard *shard) {
    return format_dense.add_plain(c, tensor, shard);
}

static int describe(const struct format_context *c, json_t *meta, json_t *config) {
    return format_dense.describe(c, meta, config);
}

static double bits_per_weight(const struct model_config *config,
                              const struct quantization_config *q) {
    return format_dense.bits_per_weight(config, q);
}

const struct format_ops format_pt = {
    .name = "pt",
    .usage = "torch:\n\n```python\nimport torch\nstate = torch.load(\"model.pt\", "
             "weights_only=True, mmap=True)\n```\n",
    .title = "the weights of dense in one file, a state dict for torch.load",
    .holds = {.wbits = 1u << 2 | 1u << 3 | 1u << 4 | 1u << 8,
              .sym = true,
              .asym = true,
              .k_grids = true,
              .unordered = true},
    .container = &container_pt,
    .check = check,
    .add_layer = add_layer,
    .add_plain = add_plain,
    .describe = describe,
    .bits_per_weight = bits_per_weight,
};
