// SPDX-License-Identifier: Apache-2.0
/*
 * Calls that change files and fail when a test wants it: open with O_CREAT, write, pwrite, fsync,
 * fdatasync, ftruncate, rename, link and mkdir take the place of the C library's, in a program that
 * this is linked into or, as a shared library, preloaded. Only calls below one folder are counted.
 *
 * Preloaded, it is armed by the environment: QUANTD_FAULT=N:ERROR fails call N, N+:ERROR all from N
 * on, with ERROR being ENOSPC, EIO or SHORT (a write of half the bytes); QUANTD_FAULT_BELOW is the
 * folder. Any thread.
 */
#pragma once

#include <stdbool.h>

#define FAULT_SHORT (-1)

/*
 * fault_arm() - from now on, call number @n (from 1; 0: none) below @folder fails with @error, an
 * errno or FAULT_SHORT; @stays: so do all after it.
 */
void fault_arm(const char *folder, int n, int error, bool stays);

/* fault_disarm() - all calls succeed again. Return: how many were counted. */
int fault_disarm(void);

/* fault_name() - what the last call that failed was; "" when none did. */
const char *fault_name(void);
