// SPDX-License-Identifier: Apache-2.0
/* One event stream to one client (api/wire.h says what it carries). */
#pragma once

#include "api/request/request.h"

#include <stdint.h>

#define STREAM_FROM_NOW UINT64_MAX

/*
 * stream_answer() - answer @request with the events of @job (0: of all jobs) after @after, or
 * with STREAM_FROM_NOW those that come. On a connection's own thread.
 */
enum MHD_Result stream_answer(struct request *request, int64_t job, uint64_t after);
