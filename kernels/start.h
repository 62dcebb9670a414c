// SPDX-License-Identifier: Apache-2.0
/*
 * The choice of the cpu backend's kernels at the start of a program.
 *
 * OpenBLAS chooses its kernels before main(), by the processor's family and model. A version that
 * is older than the processor may not know them, and take kernels that use a fraction of it. The
 * choice can be changed by OPENBLAS_CORETYPE in the environment of a new process only.
 */
#pragma once

/**
 * kernels_run_test() - do what the process that kernels_choose() starts is for
 *
 * Main thread, first of all. Does not return in such a process; does nothing in another one.
 */
void kernels_run_test(int argc, char **argv);

/**
 * kernels_choose() - start this program again when the processor has better kernels
 * @argv: of main(); the new program gets the same
 *
 * Nothing happens when the choice is right, or OPENBLAS_CORETYPE is set: by the user, or by an
 * earlier call. Better kernels are first tested in a child process, for at most 10 seconds. When
 * they compute wrongly, the choice stays as it is, and a warning is logged. The new program is this
 * process: it has the same id, environment and inherited files.
 *
 * Main thread, before the program starts threads of its own, catches signals or makes anything that
 * the new program would not find. Returns when the program need not start again, or cannot.
 */
void kernels_choose(char **argv);
