// SPDX-License-Identifier: Apache-2.0
/* The table of ops, and the life of a cpu backend. */
#include "kernels/cpu/cpu.h"

#include "base/cleanup.h"

#include <cblas.h>
#include <errno.h>
#include <stdio.h>

static void cpu_close(struct backend *b) {
    struct cpu *c = cpu_of(b);

    if (!c)
        return;
    pool_free(c->pool);
    cpu_free_blocks(c);
    free(c->scratch);
    free(c);
}

static int cpu_open(int device, struct backend **ret_backend, struct failure *failure) {
    struct cpu *c;
    int r;

    if (device != 0)
        return failure_set(failure, -ENODEV, "no_device", "the cpu backend has device 0 only",
                           "there is no cpu device %d", device);
    c = calloc(1, sizeof(*c));
    if (!c)
        return failure_oom(failure);
    c->base.ops = &backend_cpu;
    r = pool_new(pool_usable_threads(), &c->pool);
    if (r < 0) {
        cpu_close(&c->base);
        return failure_errno(failure, r, "cannot start the threads of", "cpu");
    }
    /* Tiles are our unit of parallel work; BLAS threads inside them would only get in the way. */
    openblas_set_num_threads(1);
    *ret_backend = &c->base;
    return 0;
}

static const struct failure *cpu_failure(struct backend *b) {
    return &cpu_of(b)->failure;
}

/* "model name : AMD EPYC 9654" of the first processor; they are all alike here. */
static void describe_processor(char *model, size_t size) {
    cleanup(fclosep) FILE *f = fopen("/proc/cpuinfo", "re");
    char line[256], name[96];

    while (f && fgets(line, sizeof(line), f)) {
        if (sscanf(line, "model name : %95[^\n]", name) == 1) {
            snprintf(model, size, "%s", name);
            return;
        }
    }
    snprintf(model, size, "unknown processor");
}

/* The version, and the kernels that OpenBLAS chose for this processor. */
static void describe_library(char *library, size_t size) {
    char name[32] = "OpenBLAS", version[32] = "";

    sscanf(openblas_get_config(), "%31s %31s", name, version);
    snprintf(library, size, "%s %s %s", name, version, openblas_get_corename());
}

void cpu_info(struct backend *b, struct backend_info *ret_info) {
    struct cpu *c = cpu_of(b);
    int n = pool_size(c->pool);

    *ret_info = (struct backend_info){
        .memory_allocated = atomic_load(&c->allocated),
        .memory_peak = atomic_load(&c->peak),
        .utilization = -1,
    };
    snprintf(ret_info->name, sizeof(ret_info->name), "cpu, %d thread%s", n, n == 1 ? "" : "s");
    describe_processor(ret_info->model, sizeof(ret_info->model));
    describe_library(ret_info->library, sizeof(ret_info->library));
    cpu_memory(&ret_info->memory_total, &ret_info->memory_free);
}

#define OP(name) .name = cpu_##name

const struct backend_ops backend_cpu = {
    .name = "cpu",
    .act = DTYPE_F32,
    .streams = false, /* stage() is done when it returns */
    .batch_tokens = 4096,
    OP(open),
    OP(close),
    OP(info),
    OP(failure),
    OP(alloc),
    OP(free),
    OP(zero),
    OP(upload),
    OP(download),
    OP(copy),
    OP(sync),
    OP(stage),
    OP(stage_wait),
    OP(fetch),
    OP(fetch_wait),
    OP(all_finite),
    OP(embed),
    OP(rmsnorm),
    OP(linear),
    OP(clamp),
    OP(rope),
    OP(attention),
    OP(route),
    OP(dispatch),
    OP(gather),
    OP(expert_linear),
    OP(swiglu),
    OP(expert_swiglu),
    OP(combine),
    OP(head_scratch),
    OP(head),
    OP(head_difference_scratch),
    OP(head_difference),
    OP(hessian_add),
    OP(cross_add),
    OP(hessian_order),
    OP(factor_scratch),
    OP(factor),
    OP(factor_f64_scratch),
    OP(factor_f64),
    OP(drift_scratch),
    OP(drift_correction),
    OP(gptq_scratch),
    OP(gptq),
    OP(refine_scratch),
    OP(refine),
    OP(rtn),
    OP(output_error_scratch),
    OP(output_error),
    OP(dequantize),
    OP(pack),
    OP(unpack),
};
