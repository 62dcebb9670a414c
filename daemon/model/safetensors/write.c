// SPDX-License-Identifier: Apache-2.0
#include "daemon/model/safetensors/safetensors.h"

#include "base/checked.h"
#include "base/file.h"
#include "base/json.h"
#include "base/macros.h"
#include "base/output/output.h"
#include "base/str.h"

#include <errno.h>
#include <fcntl.h>
#include <jansson.h>
#include <stdlib.h>
#include <string.h>

#define ALIGNMENT 8 /* of the data in the file, as the reference writer has it */

/* @name as a JSON string with its quotes. */
static int append_name(struct strbuf *header, const char *name) {
    json_t *value = json_string(name);
    char *text = value ? json_text(value, JSON_ENCODE_ANY) : NULL;

    json_decref(value);
    if (!text)
        return -EINVAL; /* not UTF-8 */
    strbuf_puts(header, text);
    free(text);
    return 0;
}

/* Checks that the bytes of @tensor are those of its shape: no program could read a wrong file. */
static int check_tensor(const struct tensor *tensor) {
    size_t size = dtype_size(tensor->dtype);

    if (tensor->n_dims < 0 || tensor->n_dims > TENSOR_DIMS_MAX)
        return -EINVAL;
    for (int i = 0; i < tensor->n_dims; i++) {
        if (tensor->shape[i] > SIZE_MAX || checked_mul(size, (size_t)tensor->shape[i], &size))
            return -EINVAL;
    }
    return size == tensor->size ? 0 : -EINVAL;
}

static int append_tensor(struct strbuf *header, const struct tensor *tensor, size_t *offset) {
    size_t begin = *offset;

    if (check_tensor(tensor) || checked_add(begin, tensor->size, offset))
        return -EINVAL;
    strbuf_puts(header, ",");
    if (append_name(header, tensor->name))
        return -EINVAL;
    strbuf_printf(header, ":{\"dtype\":\"%s\",\"shape\":[", dtype_name(tensor->dtype));
    for (int i = 0; i < tensor->n_dims; i++)
        strbuf_printf(header, "%s%llu", i ? "," : "", (unsigned long long)tensor->shape[i]);
    strbuf_printf(header, "],\"data_offsets\":[%zu,%zu]}", begin, *offset);
    return 0;
}

int safetensors_build_header(struct strbuf *header, const struct tensor *tensors, size_t n_tensors,
                             uint64_t *ret_size, struct failure *failure) {
    char length[8] = {};
    size_t data_size = 0;

    strbuf_append(header, length, sizeof(length));
    strbuf_puts(header, "{\"__metadata__\":{\"format\":\"pt\"}");
    for (size_t i = 0; i < n_tensors; i++) {
        if (append_tensor(header, &tensors[i], &data_size))
            return failure_set(failure, -EINVAL, "internal", NULL,
                               "cannot save tensor '%s': its size is not that of its shape, or "
                               "its name is not UTF-8",
                               tensors[i].name);
    }
    strbuf_puts(header, "}");
    while (!header->failed && header->length % ALIGNMENT != 0)
        strbuf_puts(header, " ");
    if (header->failed)
        return failure_oom(failure);
    for (int i = 0; i < 8; i++)
        header->data[i] = (char)((header->length - sizeof(length)) >> 8 * i);
    *ret_size = (uint64_t)header->length + data_size;
    return 0;
}

/* Header and tensors, into the new file @path. */
static int write_file(const char *path, const struct strbuf *header, const struct tensor *tensors,
                      size_t n_tensors, char *ret_sha256) {
    cleanup(freep) struct iovec *parts = calloc(n_tensors + 1, sizeof(*parts));
    cleanup(output_close) struct output output = {};
    int r;

    if (!parts)
        return -ENOMEM;
    parts[0] = (struct iovec){header->data, header->length};
    for (size_t i = 0; i < n_tensors; i++)
        parts[i + 1] = (struct iovec){(void *)tensors[i].data, tensors[i].size};
    r = output_open(&output, path, O_TRUNC, ret_sha256 != NULL, NULL);
    if (!r)
        r = output_append(&output, parts, n_tensors + 1);
    return r ? r : output_finish(&output, ret_sha256);
}

/* The kernel says EFAULT where a mapped tensor has lost its file. */
static int not_written(const char *path, int r, struct failure *failure) {
    if (r == -EFAULT)
        return failure_set(failure, -EBADMSG, "model_invalid",
                           "do not change a model while a job reads it; retry the job",
                           "a file of the model was cut short while '%s' was written from it",
                           path);
    return failure_errno(failure, r, "cannot write", path);
}

int safetensors_write(const char *path, const struct tensor *tensors, size_t n_tensors,
                      char *ret_sha256, uint64_t *ret_size, struct failure *failure) {
    cleanup(freep) char *temporary = str_format("%s.tmp", path);
    cleanup(strbuf_done) struct strbuf header = {};
    uint64_t size = 0;
    int r;

    if (!temporary)
        return failure_oom(failure);
    r = safetensors_build_header(&header, tensors, n_tensors, &size, failure);
    if (r)
        return r;
    r = write_file(temporary, &header, tensors, n_tensors, ret_sha256);
    if (!r && rename(temporary, path))
        r = -errno;
    if (r) {
        unlink(temporary);
        return not_written(path, r, failure);
    }
    r = file_sync_parent(path);
    if (r)
        return failure_errno(failure, r, "cannot sync the folder of", path);
    if (ret_size)
        *ret_size = size;
    return 0;
}
