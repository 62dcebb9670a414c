// SPDX-License-Identifier: Apache-2.0
/*
 * What the files of the cpu backend share: its state, the check of operands, the run of tasks.
 *
 * act is f32, a span is plain memory, and every op is done when it returns. Work is cut into
 * tiles whose number and order of summation depend on shapes alone; BLAS runs on one thread
 * inside a tile.
 */
#pragma once

#include "base/macros.h"
#include "kernels/backend.h"
#include "kernels/cpu/pool.h"

#include <stdatomic.h>

struct block; /* one allocation; memory.c */

struct cpu {
    struct backend base;
    struct failure failure; /* of the last op that failed */
    struct pool *pool;
    struct block *blocks; /* all that alloc() gave out */

    unsigned char *scratch; /* pool_size() parts of scratch_size bytes */
    size_t scratch_size;

    atomic_size_t allocated, peak; /* bytes; read by any thread */
};

static inline struct cpu *cpu_of(struct backend *b) {
    return (struct cpu *)b;
}

/* One span that an op reads or writes, and the shape it must hold. */
struct operand {
    const char *name;
    struct span span;
    size_t element; /* bytes */
    int64_t dims[3];
    size_t n_dims;
    const char *shape; /* the dims in words */
};

#define OPERAND(s, type, ...)                                                                      \
    {                                                                                              \
#s, s, sizeof(type),                                                                       \
            {__VA_ARGS__ }, sizeof((int64_t[]){__VA_ARGS__}) / sizeof(int64_t), #__VA_ARGS__       \
    }

/* cpu_check() - every dim is positive, every span aligned and large enough. 0 or -EINVAL. */
#define cpu_check(c, op, ...)                                                                      \
    cpu_check_operands(c, op, (const struct operand[]){__VA_ARGS__},                               \
                       ARRAY_SIZE(((const struct operand[]){__VA_ARGS__})))
int cpu_check_operands(struct cpu *c, const char *op, const struct operand *operands, size_t n);

/* cpu_refuse() - an argument of @op breaks the rule @rule. Return: -EINVAL. */
int cpu_refuse(struct cpu *c, const char *op, const char *rule, int64_t value);

/* cpu_check_offsets() - @n + 1 row numbers begin at 0 or more and never fall. 0 or -EINVAL. */
int cpu_check_offsets(struct cpu *c, const char *op, const int32_t *offsets, int n);

/* cpu_check_indices() - each of @n numbers is in [0, limit). 0 or -EINVAL. */
int cpu_check_indices(struct cpu *c, const char *op, const char *name, const int32_t *indices,
                      size_t n, int limit);

/*
 * cpu_run() - tasks 0 .. n_tasks - 1 of an op, each with @scratch_size bytes of its thread's own
 * to find by cpu_scratch(); what is there before is undefined. Return: 0 or -ENOMEM.
 */
int cpu_run(struct cpu *c, size_t n_tasks, size_t scratch_size, POOL_TASK(fn), const void *op);

static inline void *cpu_scratch(const struct cpu *c, int worker) {
    return c->scratch + (size_t)worker * c->scratch_size;
}

/* What a zero on a Hessian's diagonal, a dead column, counts as. */
static inline float cpu_alive(float diagonal) {
    return diagonal == 0 ? 1.0f : diagonal;
}

/* cpu_damping() - what is added to the diagonal of h [n, n]: @damp of its mean (factor.c). */
float cpu_damping(const float *h, size_t n, float damp);

/* The counters of info(). */
void cpu_count_allocated(struct cpu *c, size_t size);
void cpu_count_freed(struct cpu *c, size_t size);
/* cpu_memory() - bytes of the machine, and those that can be had now; 0 when unknown. */
void cpu_memory(size_t *ret_total, size_t *ret_available);
void cpu_free_blocks(struct cpu *c);

static inline size_t n_tiles(size_t n, size_t tile) {
    return n / tile + (n % tile != 0);
}

/* Declares cpu_NAME() with the type that the contract gives it. */
#define CPU_OP(name) __typeof__(*((struct backend_ops *)NULL)->name) cpu_##name

CPU_OP(info);
CPU_OP(alloc);
CPU_OP(free);
CPU_OP(zero);
CPU_OP(upload);
CPU_OP(download);
CPU_OP(copy);
CPU_OP(sync);
CPU_OP(stage);
CPU_OP(stage_wait);
CPU_OP(fetch);
CPU_OP(fetch_wait);
CPU_OP(all_finite);
CPU_OP(embed);
CPU_OP(rmsnorm);
CPU_OP(linear);
CPU_OP(clamp);
CPU_OP(rope);
CPU_OP(attention);
CPU_OP(route);
CPU_OP(dispatch);
CPU_OP(gather);
CPU_OP(expert_linear);
CPU_OP(swiglu);
CPU_OP(expert_swiglu);
CPU_OP(combine);
CPU_OP(head_scratch);
CPU_OP(head);
CPU_OP(head_difference_scratch);
CPU_OP(head_difference);
CPU_OP(hessian_add);
CPU_OP(cross_add);
CPU_OP(hessian_order);
CPU_OP(factor_scratch);
CPU_OP(factor);
CPU_OP(factor_f64_scratch);
CPU_OP(factor_f64);
CPU_OP(drift_scratch);
CPU_OP(drift_correction);
CPU_OP(gptq_scratch);
CPU_OP(gptq);
CPU_OP(refine_scratch);
CPU_OP(refine);
CPU_OP(rtn);
CPU_OP(output_error_scratch);
CPU_OP(output_error);
CPU_OP(dequantize);
CPU_OP(pack);
CPU_OP(unpack);
