// SPDX-License-Identifier: Apache-2.0
#include "daemon/model/safetensors/safetensors.h"

#include "base/checked.h"
#include "base/file.h"
#include "base/hash.h"
#include "base/json.h"
#include "base/macros.h"
#include "base/str.h"
#include "base/task.h"

#include <errno.h>
#include <fcntl.h>
#include <jansson.h>
#include <string.h>

#define ALIGNMENT 8                   /* of the data in the file, as the reference writer has it */
#define WRITE_BACK ((size_t)16 << 20) /* bytes that the disk gets at a time */
#define HASH_BESIDE ((size_t)1 << 20) /* bytes from which on a thread of its own hashes */

/* A file in the making. */
struct content {
    const struct strbuf *header;
    const struct tensor *tensors;
    size_t n_tensors;
    char sha256[SHA256_TEXT_SIZE];
};

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

/* Writes @size bytes; *behind: how many the disk was not given yet. */
static int write_through(int fd, const void *data, size_t size, size_t *behind) {
    for (size_t at = 0; at < size;) {
        size_t n = MIN(size - at, WRITE_BACK);
        int r = file_write_all(fd, (const char *)data + at, n);

        if (r)
            return r;
        at += n;
        *behind += n;
        if (*behind < WRITE_BACK)
            continue;
        /* So that little is left for the fsync, which also reports what goes wrong here. */
        (void)sync_file_range(fd, 0, 0, SYNC_FILE_RANGE_WRITE);
        *behind = 0;
    }
    return 0;
}

static int write_file(const char *path, const struct content *content) {
    cleanup(closep) int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0640);
    size_t behind = 0;
    int r;

    if (fd < 0)
        return -errno;
    r = file_write_all(fd, content->header->data, content->header->length);
    for (size_t i = 0; i < content->n_tensors && !r; i++)
        r = write_through(fd, content->tensors[i].data, content->tensors[i].size, &behind);
    if (!r && fsync(fd))
        r = -errno;
    return r;
}

static int hash_content(void *ctx) {
    struct content *content = ctx;
    cleanup(sha256_freep) struct sha256 *hash = sha256_new();

    if (!hash)
        return -ENOMEM;
    sha256_update(hash, content->header->data, content->header->length);
    for (size_t i = 0; i < content->n_tensors; i++)
        sha256_update(hash, content->tensors[i].data, content->tensors[i].size);
    sha256_finish(hash, content->sha256);
    return 0;
}

/* Writes the file @path, and hashes it meanwhile when @hash. */
static int write_and_hash(const char *path, struct content *content, uint64_t size, bool hash) {
    struct task task = {};
    bool beside = hash && size >= HASH_BESIDE && !task_start(&task, hash_content, content);
    int r = write_file(path, content), hashed = task_finish(&task);

    if (!r && hash && !beside)
        hashed = hash_content(content);
    return r ? r : hashed;
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
    struct content content = {&header, tensors, n_tensors, ""};
    uint64_t size = 0;
    int r;

    if (!temporary)
        return failure_oom(failure);
    r = safetensors_build_header(&header, tensors, n_tensors, &size, failure);
    if (r)
        return r;
    r = write_and_hash(temporary, &content, size, ret_sha256 != NULL);
    if (!r && rename(temporary, path))
        r = -errno;
    if (r) {
        unlink(temporary);
        return not_written(path, r, failure);
    }
    r = file_sync_parent(path);
    if (r)
        return failure_errno(failure, r, "cannot sync the folder of", path);
    if (ret_sha256)
        memcpy(ret_sha256, content.sha256, sizeof(content.sha256));
    if (ret_size)
        *ret_size = size;
    return 0;
}
