// SPDX-License-Identifier: Apache-2.0
/*
 * Which backends this process can use, and opening one by name.
 *
 * The CUDA backend is a module, quantd-cuda.so, loaded when a device is asked for, so that a
 * process on the cpu never maps the CUDA libraries. It is looked for in $QUANTD_MODULE_DIR, the
 * directory of the running binary, kernels/cuda below that directory's parent (a build tree),
 * ../lib/quantd from the binary, and where it was installed. Any thread.
 */
#pragma once

#include "kernels/backend.h"

/**
 * backend_count() - how many devices of a kind this process can open
 * @kind:  "cpu" or "cuda"
 * @ret_n: 0 for cuda when the module, the driver or a device is missing
 *
 * Asks the driver only: no context, no device memory.
 *
 * Return: 0, or -EINVAL for another kind.
 */
int backend_count(const char *kind, int *ret_n);

/**
 * backend_table() - the ops of a kind of device, to plan with, without opening one
 * @kind:    "cpu" or "cuda"
 * @ret_ops: static; for a backend that is not open only its constants and *_scratch() may be used
 *
 * Return: 0; -EINVAL for another kind; -ENODEV when the module is missing.
 */
int backend_table(const char *kind, const struct backend_ops **ret_ops, struct failure *failure);

/**
 * backend_open() - open a device
 * @device:      "cpu", "cuda:N", or "auto": the first CUDA device that opens, else the cpu
 * @ret_backend: to be closed with ret_backend->ops->close()
 *
 * Return: 0; -EINVAL for a name that is none; -ENODEV when the module, the driver or the device
 * is missing, with a hint on what to install; or what the backend's open() said.
 */
int backend_open(const char *device, struct backend **ret_backend, struct failure *failure);
