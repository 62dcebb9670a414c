// SPDX-License-Identifier: Apache-2.0
#include "daemon/pipeline/formats/gguf/file.h"

#include "base/cleanup.h"
#include "base/file.h"
#include "base/macros.h"
#include "base/output/output.h"
#include "base/str.h"
#include "daemon/pipeline/formats/gguf/keys.h"
#include "daemon/pipeline/formats/gguf/layout.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>

struct container {
    struct output output;
    struct gguf_layout layout;
    size_t next; /* tensor of the layout */
};

static void container_close(struct container *container) {
    if (!container)
        return;
    gguf_layout_done(&container->layout);
    output_close(&container->output);
    free(container);
}

DEFINE_CLEANUP(struct container *, container_closep, container_close)

/* ---- the header ---- */

static void put_table(struct strbuf *to, const struct gguf_layout *layout) {
    uint64_t offset = 0; /* from where the data begins */

    for (size_t i = 0; i < layout->n; i++) {
        const struct gguf_tensor *t = &layout->tensors[i];

        gguf_put_string(to, t->name, strlen(t->name));
        gguf_put(to, (uint64_t)t->n_dims, 4);
        for (int d = 0; d < t->n_dims; d++)
            gguf_put(to, t->dims[d], 8);
        gguf_put(to, t->type->number, 4);
        gguf_put(to, offset, 8);
        offset += ALIGN_UP(t->size, GGUF_ALIGNMENT);
    }
}

static void pad(struct strbuf *to) {
    gguf_put(to, 0, (int)(ALIGN_UP(to->length, GGUF_ALIGNMENT) - to->length));
}

/* In what most of the model is: the experts' matrices. */
static const struct ggml_type *main_type(const struct format_context *c) {
    struct group_shape shape;

    group_shape(c->config, GROUP_GATE_UP, &shape);
    return gguf_part_type(c->config, c->q, 0, &shape, 0);
}

static int write_header(const struct format_context *c, struct container *container) {
    cleanup(strbuf_done) struct strbuf header = {};
    cleanup(gguf_keys_done) struct gguf_keys keys = {};
    int r;

    gguf_put_model(&keys, c->config, main_type(c));
    r = gguf_put_tokenizer(&keys, c->model_root, c->model_dir, c->config, c->failure);
    if (r)
        return r;
    strbuf_puts(&header, GGUF_MAGIC);
    gguf_put(&header, GGUF_VERSION, 4);
    gguf_put(&header, container->layout.n, 8);
    gguf_put(&header, keys.n, 8);
    strbuf_append(&header, keys.bytes.data, keys.bytes.length);
    put_table(&header, &container->layout);
    pad(&header);
    if (keys.bytes.failed || header.failed)
        return failure_oom(c->failure);
    r = output_put(&container->output, header.data, header.length);
    return r ? output_failed(&container->output, r, c->failure) : 0;
}

static int container_open(const struct format_context *c, const char *path,
                          struct container **ret_container) {
    cleanup(container_closep) struct container *container = calloc(1, sizeof(*container));
    int r;

    if (!container)
        return failure_oom(c->failure);
    r = output_open(&container->output, path, O_EXCL, true, c->failure);
    if (r)
        return r;
    if (gguf_layout_init(c->config, c->q, &container->layout))
        return failure_oom(c->failure);
    r = write_header(c, container);
    if (!r)
        *ret_container = steal_ptr(container);
    return r;
}

/* ---- the data ---- */

/* @t, and what fills up its last block, to @parts [2]. */
static int add_tensor(struct container *container, const struct tensor *t, struct iovec *parts) {
    static const char zeros[GGUF_ALIGNMENT];
    const struct gguf_tensor *row = &container->layout.tensors[container->next];

    if (container->next == container->layout.n || !str_equal(row->name, t->name) ||
        row->size != t->size)
        return -EINVAL;
    container->next++;
    parts[0] = (struct iovec){(void *)t->data, t->size};
    parts[1] = (struct iovec){(void *)zeros, ALIGN_UP(t->size, GGUF_ALIGNMENT) - t->size};
    return 0;
}

static int container_add(const struct format_context *c, struct container *container,
                         const struct shard *shard) {
    size_t n = shard->n_tensors;
    cleanup(freep) struct iovec *parts = calloc(MAX(2 * n, (size_t)1), sizeof(*parts));
    int r = parts ? 0 : -ENOMEM;

    for (size_t i = 0; i < n && !r; i++)
        r = add_tensor(container, &shard->tensors[i], parts + 2 * i);
    if (!r)
        r = output_append(&container->output, parts, 2 * n);
    return r ? output_failed(&container->output, r, c->failure) : 0;
}

static int container_finish(const struct format_context *c, struct container *container,
                            char ret_sha256[SHA256_TEXT_SIZE], uint64_t *ret_size) {
    struct output *output = &container->output;
    int r = container->next == container->layout.n ? 0 : -EINVAL;

    *ret_size = output->size;
    if (!r)
        r = output_finish(output, ret_sha256);
    if (!r)
        r = file_sync_parent(output->path);
    return r ? output_failed(output, r, c->failure) : 0;
}

const struct container_ops container_gguf = {
    .file = "model.gguf",
    .open = container_open,
    .add = container_add,
    .finish = container_finish,
    .close = container_close,
};
