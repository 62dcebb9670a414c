// SPDX-License-Identifier: Apache-2.0
/*
 * How busy a device is, by the driver's management library (NVML). It comes with the driver and not
 * with the toolkit, so it is looked for when a device is opened; without it the utilization is
 * unknown. Its functions may be called by any thread.
 */
#include "kernels/cuda/device.cuh"

#include <dlfcn.h>
#include <stdlib.h>

/* nvmlUtilization_t: per cent of the last sampling period, a second at most. */
struct utilization_rates {
    unsigned gpu, memory;
};

struct utilization {
    void *library;
    int (*shutdown)(void);
    int (*rates)(void *device, struct utilization_rates *ret_rates);
    void *device;
};

/* Finds the device, which the library knows by its place on the bus. 0: it is there. */
static int find_device(struct utilization *u, int device) {
    int (*init)(void);
    int (*by_bus)(const char *bus, void **ret_device);
    char bus[32];

    *(void **)&init = dlsym(u->library, "nvmlInit_v2");
    *(void **)&by_bus = dlsym(u->library, "nvmlDeviceGetHandleByPciBusId_v2");
    *(void **)&u->rates = dlsym(u->library, "nvmlDeviceGetUtilizationRates");
    *(void **)&u->shutdown = dlsym(u->library, "nvmlShutdown");
    if (!init || !by_bus || !u->rates || !u->shutdown || init())
        return -1;
    if (cudaDeviceGetPCIBusId(bus, sizeof(bus), device) == cudaSuccess &&
        by_bus(bus, &u->device) == 0)
        return 0;
    u->shutdown();
    return -1;
}

struct utilization *utilization_new(int device) {
    struct utilization *u = static_cast<struct utilization *>(calloc(1, sizeof(*u)));

    if (!u)
        return NULL;
    u->library = dlopen("libnvidia-ml.so.1", RTLD_NOW | RTLD_LOCAL);
    if (u->library && find_device(u, device) == 0)
        return u;
    if (u->library)
        dlclose(u->library);
    free(u);
    return NULL;
}

void utilization_free(struct utilization *u) {
    if (!u)
        return;
    u->shutdown();
    dlclose(u->library);
    free(u);
}

float utilization_now(const struct utilization *u) {
    struct utilization_rates rates;

    if (!u || u->rates(u->device, &rates) || rates.gpu > 100)
        return -1;
    return (float)rates.gpu / 100;
}
