// SPDX-License-Identifier: Apache-2.0
/* The log's line about a request that was refused. On the connection's own thread. */
#pragma once

struct request;

/*
 * refusal_log() - log that @request gets @status, 401 or 403, with @code; nothing with any other.
 * Once for each request, even if its client never reads the answer. No byte that a client chose
 * gets into the line but numbers and names that were checked.
 */
void refusal_log(const struct request *request, unsigned status, const char *code);
