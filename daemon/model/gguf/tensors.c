// SPDX-License-Identifier: Apache-2.0
#include "daemon/model/gguf/tensors.h"

#include "daemon/model/arch/arch.h"
#include "daemon/model/gguf/names.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define TENSORS_MAX 1000000
#define NAME_SIZE (MATRIX_NAME_SIZE + 16) /* with the type */

struct listing {
    const struct gguf_file *file;
    const struct model_config *config;
    struct tensor *tensors;   /* without names; owned */
    char (*names)[NAME_SIZE]; /* the same; owned */
    size_t n, capacity;
    bool quantized;
};

static bool grow(struct listing *list) {
    size_t capacity = list->capacity ? 2 * list->capacity : 256;
    struct tensor *tensors;
    char(*names)[NAME_SIZE];

    if (list->n < list->capacity)
        return true;
    tensors = reallocarray(list->tensors, capacity, sizeof(*tensors));
    if (!tensors)
        return false;
    list->tensors = tensors;
    names = reallocarray(list->names, capacity, sizeof(*names));
    if (!names)
        return false;
    list->names = names;
    list->capacity = capacity;
    return true;
}

/* How many parts of its group stand before @t. */
static int part_of(const struct arch *arch, const struct arch_tensor *t) {
    int part = 0;

    for (const struct arch_tensor *other = arch->tensors; other < t; other++)
        part += other->role == ROLE_MATRIX && other->group == t->group;
    return part;
}

static const struct gguf_entry *entry_of(const struct listing *list, const struct arch_tensor *t,
                                         int layer) {
    char name[GGUF_NAME_SIZE];

    if (t->role == ROLE_MATRIX)
        gguf_part_name(t->group, part_of(list->config->arch, t), layer, name);
    else
        gguf_plain_name(t->role, layer, name);
    return gguf_find(list->file, name);
}

/* Slice @i of @entry, whose last dimension counts @n; the whole is slice 0 of 1. */
static void describe(const struct gguf_entry *entry, uint64_t i, uint64_t n, struct tensor *t) {
    const struct gguf_type *type = entry->type;
    uint64_t columns = entry->dims[0], rows = entry->dims[1];

    *t = (struct tensor){.dtype = type->dtype, .n_dims = entry->n_dims > 1 ? 2 : 1};
    t->size = entry->size / n;
    t->n = t->size / dtype_size(type->dtype);
    t->data = entry->data + i * t->size;
    if (type->unpack)
        columns = columns / (uint64_t)type->block * (uint64_t)type->bytes;
    t->shape[0] = t->n_dims == 2 ? rows : columns;
    t->shape[1] = t->n_dims == 2 ? columns : 0;
}

static int visit(void *ctx, const struct arch_tensor *t, int layer, int expert) {
    struct listing *list = ctx;
    const struct gguf_entry *entry = entry_of(list, t, layer);
    uint64_t n = expert < 0 ? 1 : (uint64_t)list->config->num_experts;
    char name[MATRIX_NAME_SIZE];

    /* Of another number of dimensions or experts: it is as if it was not there. */
    if (!entry || entry->dims[2] != n || entry->dims[3] != 1 ||
        (entry->n_dims == 3) != (expert >= 0) || arch_is_tied(list->config, t))
        return 0;
    if (list->n == TENSORS_MAX)
        return -E2BIG;
    if (!grow(list))
        return -ENOMEM;
    arch_name(t->name, layer, expert, name);
    snprintf(list->names[list->n], NAME_SIZE, "%s.%s", name,
             entry->type->unpack ? entry->type->name : "weight");
    list->quantized |= entry->type->unpack != NULL;
    describe(entry, expert < 0 ? 0 : (uint64_t)expert, n, &list->tensors[list->n++]);
    return 0;
}

int gguf_tensors(struct gguf_file *file, const struct model_config *config, const char *path,
                 struct safetensors **ret_tensors, bool *ret_quantized, struct failure *failure) {
    struct listing list = {.file = file, .config = config};
    int r = arch_walk(config, visit, &list);

    for (size_t i = 0; i < list.n; i++)
        list.tensors[i].name = list.names[i];
    if (!r)
        r = safetensors_adopt(gguf_steal_mapping(file), list.tensors, list.n, (char *)list.names,
                              ret_tensors);
    else
        free(list.names);
    free(list.tensors);
    *ret_quantized = list.quantized;
    if (r == -E2BIG)
        return failure_set(failure, -EBADMSG, "model_invalid", "take another file",
                           "cannot use '%s': its model has more than %d matrices", path,
                           TENSORS_MAX);
    return r ? failure_oom(failure) : 0;
}
