// SPDX-License-Identifier: Apache-2.0
/* The check of an op's operands, and the start of its tasks. */
#include "kernels/cpu/cpu.h"

#include "base/checked.h"
#include "base/cleanup.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>

static const char hint[] = "this is a fault of the program: please report it";

/* The dims as "[3, 64]". */
static void format_dims(const struct operand *o, char *text, size_t size) {
    size_t used = 0;

    text[0] = '\0';
    for (size_t i = 0; i < o->n_dims && used < size; i++)
        used += (size_t)snprintf(text + used, size - used, "%s%" PRId64, i ? ", " : "", o->dims[i]);
}

static int check_operand(struct cpu *c, const char *op, const struct operand *o) {
    size_t need = o->element;
    bool fits = true;
    char dims[80];

    for (size_t i = 0; i < o->n_dims; i++)
        fits = fits && o->dims[i] > 0 && !checked_mul(need, (size_t)o->dims[i], &need);
    format_dims(o, dims, sizeof(dims));
    if (!fits)
        return failure_set(&c->failure, -EINVAL, "backend_shape", hint,
                           "%s: '%s' cannot have the shape [%s] = [%s]", op, o->name, o->shape,
                           dims);
    if (o->span.size < need)
        return failure_set(&c->failure, -EINVAL, "backend_shape", hint,
                           "%s: '%s' has %zu bytes, needs %zu: [%s] = [%s]", op, o->name,
                           o->span.size, need, o->shape, dims);
    if ((uintptr_t)o->span.at % o->element != 0)
        return failure_set(&c->failure, -EINVAL, "backend_shape", hint,
                           "%s: '%s' is not aligned to %zu bytes", op, o->name, o->element);
    return 0;
}

int cpu_check_operands(struct cpu *c, const char *op, const struct operand *operands, size_t n) {
    int r = 0;

    for (size_t i = 0; i < n && r == 0; i++)
        r = check_operand(c, op, &operands[i]);
    return r;
}

int cpu_refuse(struct cpu *c, const char *op, const char *rule, int64_t value) {
    return failure_set(&c->failure, -EINVAL, "backend_argument", hint,
                       "%s: %" PRId64 " breaks the rule '%s'", op, value, rule);
}

int cpu_check_offsets(struct cpu *c, const char *op, const int32_t *offsets, int n) {
    if (n < 1)
        return cpu_refuse(c, op, "at least one matrix", n);
    if (offsets[0] < 0)
        return cpu_refuse(c, op, "offsets begin at 0 or more", offsets[0]);
    for (int i = 0; i < n; i++) {
        if (offsets[i + 1] < offsets[i])
            return cpu_refuse(c, op, "offsets never fall", offsets[i + 1]);
    }
    return 0;
}

int cpu_check_indices(struct cpu *c, const char *op, const char *name, const int32_t *indices,
                      size_t n, int limit) {
    for (size_t i = 0; i < n; i++) {
        if (indices[i] < 0 || indices[i] >= limit)
            return failure_set(&c->failure, -EINVAL, "backend_index", hint,
                               "%s: '%s' holds %" PRId32 " at %zu, outside of [0, %d)", op, name,
                               indices[i], i, limit);
    }
    return 0;
}

static int grow_scratch(struct cpu *c, size_t size) {
    size_t n = (size_t)pool_size(c->pool), total;
    unsigned char *scratch;

    /* The odd page between threads keeps their parts from competing for the same cache sets. */
    if (checked_add(ALIGN_UP(size, 4096), 4096 + 256, &size) || checked_mul(size, n, &total))
        return failure_oom(&c->failure);
    scratch = aligned_alloc(256, total);
    if (!scratch)
        return failure_oom(&c->failure);
    free(c->scratch);
    cpu_count_freed(c, c->scratch_size * n);
    cpu_count_allocated(c, total);
    c->scratch = scratch;
    c->scratch_size = size;
    return 0;
}

int cpu_run(struct cpu *c, size_t n_tasks, size_t scratch_size, POOL_TASK(fn), const void *op) {
    int r;

    if (scratch_size > c->scratch_size) {
        r = grow_scratch(c, scratch_size);
        if (r < 0)
            return r;
    }
    pool_run(c->pool, n_tasks, fn, op);
    return 0;
}
