// SPDX-License-Identifier: Apache-2.0
/* Runs one job in this thread: the pipeline on one side, the event sink on the other. */
#pragma once

#include "daemon/data/corpus.h"
#include "daemon/executor/sink.h"
#include "kernels/backend.h"

/*
 * runner_run() - run the job of @sink, which was claimed, on @backend, until its end is recorded.
 * Blocks as long as that takes; the thread of the device.
 * Return: true when the device can be used by a new process only.
 */
bool runner_run(struct sink *sink, const struct corpora *corpora, struct backend *backend);
