// SPDX-License-Identifier: Apache-2.0
/* What daemon and client must spell the same way. */
#pragma once

#define WIRE_DEFAULT_SOCKET "/run/quantd/quantd.sock"
#define WIRE_DEFAULT_HOST "127.0.0.1"
#define WIRE_DEFAULT_PORT "7878"

#define WIRE_JSON "application/json"
#define WIRE_PROBLEM "application/problem+json"
#define WIRE_EVENT_STREAM "text/event-stream"

/* Largest request body that the API takes. */
#define WIRE_BODY_MAX (64 * 1024)
