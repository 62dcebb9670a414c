// SPDX-License-Identifier: Apache-2.0
#include "kernels/registry.h"

#include "base/cleanup.h"
#include "base/str.h"

#include <dlfcn.h>
#include <errno.h>
#include <limits.h>
#include <string.h>

#define MODULE "quantd-cuda.so"
#define MAX_DEVICES 1024

/* The directory of the running binary, owned by the caller; NULL when unknown. */
static char *binary_dir(void) {
    char path[PATH_MAX], *slash;
    ssize_t size = readlink("/proc/self/exe", path, sizeof(path) - 1);

    if (size <= 0)
        return NULL;
    path[size] = '\0';
    slash = strrchr(path, '/');
    if (!slash)
        return NULL;
    *slash = '\0';
    return strdup(path);
}

/*
 * Opens the module in a directory. A module that exists but does not load is distinguished from one
 * that is not: its error is kept for the user.
 */
static void *open_module_in(const char *dir, const char *below, struct failure *failure) {
    cleanup(freep) char *path = str_format("%s%s/" MODULE, dir, below);
    void *module;

    if (!path || access(path, F_OK) < 0)
        return NULL;
    module = dlopen(path, RTLD_NOW | RTLD_LOCAL);
    if (!module)
        failure_set(failure, -ENODEV, "no_cuda",
                    "install the CUDA 13 runtime and cuBLAS where the loader finds them",
                    "cannot load '%s': %s", path, dlerror());
    return module;
}

/* The module stays loaded once it is; loading it again gives the same. */
static int load_module(const struct backend_ops **ret_ops, struct failure *failure) {
    cleanup(freep) char *dir = binary_dir();
    const char *chosen = getenv("QUANTD_MODULE_DIR");
    void *module = NULL;

    failure_set(failure, -ENODEV, "no_cuda",
                "install quantd's CUDA package, or set QUANTD_MODULE_DIR to the module's directory",
                "cannot find '" MODULE "'");
    if (chosen && *chosen)
        module = open_module_in(chosen, "", failure);
    if (!module && dir)
        module = open_module_in(dir, "", failure);
    if (!module && dir)
        module = open_module_in(dir, "/../kernels/cuda", failure);
    if (!module && dir)
        module = open_module_in(dir, "/../../kernels/cuda", failure);
    if (!module && dir)
        module = open_module_in(dir, "/../lib/quantd", failure);
    if (!module)
        module = open_module_in(QUANTD_MODULE_DIR, "", failure);
    if (!module)
        return -ENODEV;
    *ret_ops = dlsym(module, "backend_cuda");
    if (!*ret_ops)
        return failure_set(failure, -ENODEV, "no_cuda", "install the module of this version",
                           "'" MODULE "' holds no backend");
    return 0;
}

/* Asks the driver, which makes no context for that. */
static int count_cuda(int *ret_n, struct failure *failure) {
    void *driver = dlopen("libcuda.so.1", RTLD_NOW | RTLD_LOCAL);
    int (*init)(unsigned) = NULL, (*count)(int *) = NULL;
    int n = 0;

    if (driver) {
        *(void **)&init = dlsym(driver, "cuInit");
        *(void **)&count = dlsym(driver, "cuDeviceGetCount");
    }
    if (!init || !count)
        return failure_set(failure, -ENODEV, "no_cuda", "install the NVIDIA driver",
                           "cannot load the CUDA driver 'libcuda.so.1'");
    if (init(0) || count(&n) || n < 1)
        return failure_set(failure, -ENODEV, "no_device",
                           "check the driver and its devices with nvidia-smi",
                           "the CUDA driver finds no device");
    *ret_n = n;
    return 0;
}

int backend_count(const char *kind, int *ret_n) {
    const struct backend_ops *ops;
    struct failure failure;

    if (str_equal(kind, "cpu")) {
        *ret_n = 1;
        return 0;
    }
    if (!str_equal(kind, "cuda"))
        return -EINVAL;
    if (count_cuda(ret_n, &failure) < 0 || load_module(&ops, &failure) < 0)
        *ret_n = 0;
    return 0;
}

int backend_table(const char *kind, const struct backend_ops **ret_ops, struct failure *failure) {
    if (str_equal(kind, "cuda"))
        return load_module(ret_ops, failure);
    if (!str_equal(kind, "cpu"))
        return failure_set(failure, -EINVAL, "invalid_device", "use cpu or cuda",
                           "no kind of device is called '%s'", kind);
    *ret_ops = &backend_cpu;
    return 0;
}

static int open_cuda(int device, struct backend **ret_backend, struct failure *failure) {
    const struct backend_ops *ops;
    int n, r;

    r = load_module(&ops, failure);
    if (r == 0)
        r = count_cuda(&n, failure);
    return r < 0 ? r : ops->open(device, ret_backend, failure);
}

static int open_auto(struct backend **ret_backend, struct failure *failure) {
    int n;

    backend_count("cuda", &n);
    for (int device = 0; device < n; device++)
        if (open_cuda(device, ret_backend, failure) == 0)
            return 0;
    return backend_cpu.open(0, ret_backend, failure);
}

int backend_open(const char *device, struct backend **ret_backend, struct failure *failure) {
    uint64_t number;

    if (str_equal(device, "cpu"))
        return backend_cpu.open(0, ret_backend, failure);
    if (str_equal(device, "auto"))
        return open_auto(ret_backend, failure);
    if (!str_has_prefix(device, "cuda:") ||
        str_parse_u64(device + strlen("cuda:"), MAX_DEVICES, &number) < 0)
        return failure_set(failure, -EINVAL, "invalid_device", "use auto, cpu or cuda:N",
                           "no device is called '%s'", device);
    return open_cuda((int)number, ret_backend, failure);
}
