// SPDX-License-Identifier: Apache-2.0
/* Memory: blocks of the heap, copies between them, conversion of weights to f32. */
#include "kernels/cpu/cpu.h"

#include "base/checked.h"
#include "base/cleanup.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/sysinfo.h>

#define ALIGNMENT 256
#define HUGE ((size_t)2 << 20) /* a huge page; also the size from which one is worth asking for */

/* Stands ALIGNMENT bytes before the memory that it describes. */
struct block {
    struct block *next, *previous;
    size_t size; /* bytes given out */
};

void cpu_count_allocated(struct cpu *c, size_t size) {
    size_t now = atomic_fetch_add(&c->allocated, size) + size;

    if (now > atomic_load(&c->peak))
        atomic_store(&c->peak, now);
}

void cpu_count_freed(struct cpu *c, size_t size) {
    atomic_fetch_sub(&c->allocated, size);
}

void cpu_memory(size_t *ret_total, size_t *ret_available) {
    cleanup(fclosep) FILE *f = fopen("/proc/meminfo", "re");
    struct sysinfo info;
    char line[128];
    size_t kib;

    *ret_total = *ret_available = 0;
    if (sysinfo(&info) == 0) {
        *ret_total = (size_t)info.totalram * info.mem_unit;
        *ret_available = (size_t)info.freeram * info.mem_unit;
    }
    while (f && fgets(line, sizeof(line), f)) {
        if (sscanf(line, "MemAvailable: %zu kB", &kib) == 1)
            *ret_available = kib * 1024;
    }
}

/* The kernel hands out memory that it does not have, and kills who then touches it. */
static int refuse_too_much(struct cpu *c, size_t size) {
    size_t total, available;

    cpu_memory(&total, &available);
    if (size < HUGE || available == 0 || size <= available)
        return 0;
    return failure_set(&c->failure, -ENOMEM, "device_memory",
                       "use fewer samples, a shorter seqlen, or a machine with more memory",
                       "cannot allocate %zu MiB: the machine has %zu MiB left", size >> 20,
                       available >> 20);
}

int cpu_alloc(struct backend *b, size_t size, struct span *ret_span) {
    struct cpu *c = cpu_of(b);
    size_t total, align = size < HUGE ? ALIGNMENT : HUGE;
    struct block *block;
    unsigned char *base;
    int r;

    if (size == 0) {
        *ret_span = (struct span){};
        return 0;
    }
    r = refuse_too_much(c, size);
    if (r < 0)
        return r;
    if (checked_add(size, ALIGNMENT + align, &total))
        return failure_oom(&c->failure);
    base = aligned_alloc(align, total & ~(align - 1));
    if (!base)
        return failure_oom(&c->failure);
    if (size >= HUGE)
        madvise(base, total & ~(align - 1), MADV_HUGEPAGE);
    block = (struct block *)base;
    *block = (struct block){.next = c->blocks, .size = size};
    if (c->blocks)
        c->blocks->previous = block;
    c->blocks = block;
    cpu_count_allocated(c, size);
    *ret_span = (struct span){base + ALIGNMENT, size};
    return 0;
}

void cpu_free(struct backend *b, struct span *span) {
    struct cpu *c = cpu_of(b);
    struct block *block;

    if (!span->at)
        return;
    block = (struct block *)(span->at - ALIGNMENT);
    if (block->previous)
        block->previous->next = block->next;
    else
        c->blocks = block->next;
    if (block->next)
        block->next->previous = block->previous;
    cpu_count_freed(c, block->size);
    free(block);
    *span = (struct span){};
}

void cpu_free_blocks(struct cpu *c) {
    while (c->blocks) {
        struct block *block = c->blocks;

        c->blocks = block->next;
        free(block);
    }
}

#define CHUNK ((size_t)1 << 18) /* bytes of a task */

struct copying {
    unsigned char *dst;
    const unsigned char *src; /* NULL: zeros */
    size_t size;
};

static void copy_chunk(const void *arg, size_t task, int worker) {
    const struct copying *op = arg;
    size_t at = task * CHUNK, size = MIN(CHUNK, op->size - at);

    (void)worker;
    if (op->src)
        memcpy(op->dst + at, op->src + at, size);
    else
        memset(op->dst + at, 0, size);
}

static int copy_bytes(struct backend *b, void *dst, const void *src, size_t size) {
    struct copying op = {dst, src, size};

    return cpu_run(cpu_of(b), n_tiles(size, CHUNK), 0, copy_chunk, &op);
}

int cpu_zero(struct backend *b, struct span dst) {
    int r = cpu_check(cpu_of(b), "zero", OPERAND(dst, char, (int64_t)dst.size));

    return r < 0 ? r : copy_bytes(b, dst.at, NULL, dst.size);
}

int cpu_upload(struct backend *b, struct span dst, const void *src) {
    int r = cpu_check(cpu_of(b), "upload", OPERAND(dst, char, (int64_t)dst.size));

    return r < 0 ? r : copy_bytes(b, dst.at, src, dst.size);
}

int cpu_download(struct backend *b, void *dst, struct span src) {
    int r = cpu_check(cpu_of(b), "download", OPERAND(src, char, (int64_t)src.size));

    return r < 0 ? r : copy_bytes(b, dst, src.at, src.size);
}

int cpu_copy(struct backend *b, struct span dst, struct span src) {
    struct cpu *c = cpu_of(b);

    if (dst.size != src.size)
        return cpu_refuse(c, "copy", "both spans have one size", (int64_t)src.size);
    if (src.size == 0)
        return cpu_refuse(c, "copy", "the spans are not empty", 0);
    return copy_bytes(b, dst.at, src.at, src.size);
}

int cpu_sync(struct backend *b) {
    (void)b;
    return 0;
}

struct staging {
    float *dst;
    const unsigned char *src;
    enum dtype dtype;
    size_t n;
};

static void stage_chunk(const void *arg, size_t task, int worker) {
    const struct staging *op = arg;
    size_t at = task * CHUNK, n = MIN(CHUNK, op->n - at);

    (void)worker;
    dtype_to_f32(op->dst + at, op->src + at * dtype_size(op->dtype), op->dtype, n);
}

int cpu_stage(struct backend *b, struct span dst, const void *src, enum dtype dtype, size_t n) {
    struct cpu *c = cpu_of(b);
    struct staging op = {(float *)dst.at, src, dtype, n};
    int r;

    if (dtype != DTYPE_F32 && dtype != DTYPE_F16 && dtype != DTYPE_BF16 && dtype != DTYPE_U8)
        return cpu_refuse(c, "stage", "dtype is F32, F16, BF16 or U8", dtype);
    if (n > INT64_MAX)
        return cpu_refuse(c, "stage", "n fits", INT64_MAX);
    if (dtype == DTYPE_U8) {
        r = cpu_check(c, "stage", OPERAND(dst, char, (int64_t)n));
        return r < 0 ? r : copy_bytes(b, dst.at, src, n);
    }
    r = cpu_check(c, "stage", OPERAND(dst, float, (int64_t)n));
    if (r < 0)
        return r;
    return cpu_run(c, n_tiles(n, CHUNK), 0, stage_chunk, &op);
}

int cpu_stage_wait(struct backend *b) {
    (void)b;
    return 0;
}

int cpu_fetch(struct backend *b, void *dst, struct span src) {
    return cpu_download(b, dst, src);
}

int cpu_fetch_wait(struct backend *b) {
    (void)b;
    return 0;
}

struct finding {
    const unsigned char *x;
    size_t n;
    atomic_bool *found; /* a value that is not finite */
};

static void find_chunk(const void *arg, size_t task, int worker) {
    const struct finding *op = arg;
    size_t at = task * CHUNK, n = MIN(CHUNK, op->n - at);
    uint32_t found = 0;

    (void)worker;
    for (size_t i = 0; i < n; i++) {
        uint32_t bits;

        memcpy(&bits, op->x + (at + i) * sizeof(bits), sizeof(bits));
        found |= (bits & 0x7f800000) == 0x7f800000; /* the exponent of Inf and NaN */
    }
    if (found)
        atomic_store(op->found, true);
}

int cpu_all_finite(struct backend *b, struct span x, size_t n, bool *ret_finite) {
    struct cpu *c = cpu_of(b);
    atomic_bool found = false;
    struct finding op = {x.at, n, &found};
    int r = cpu_check(c, "all_finite", OPERAND(x, float, (int64_t)n));

    if (r < 0)
        return r;
    r = cpu_run(c, n_tiles(n, CHUNK), 0, find_chunk, &op);
    if (!r)
        *ret_finite = !atomic_load(&found);
    return r;
}
