// SPDX-License-Identifier: Apache-2.0
/*
 * Where a request ends, and which names it holds, must be beyond doubt: what this reads as one
 * request another program on the way could read as two (RFC 9112, section 11.2). libmicrohttpd
 * 0.9.75 accepts what this refuses. On the connection's own thread.
 */
#pragma once

#include <stdbool.h>

struct MHD_Connection;

/* What libmicrohttpd gives of the first line; pointers into the head as it was received. */
struct request_line {
    const char *uri, *uri_end; /* by framing_read_uri(); what is between has changed since */
    bool is_broken;            /* likewise: it has a control character, or %00 */
    const char *method, *version;
};

/* framing_read_uri() - look at @uri as it was sent, before anything in it is decoded. */
void framing_read_uri(struct request_line *line, const char *uri);

/*
 * framing_check() - what is wrong with the head of the request, to be answered with 400 on a
 * connection that is then closed: a NUL or another control character, a byte that no header name
 * may have (a space before the colon), more than one Content-Length or Transfer-Encoding, both, or
 * one that is not "chunked". NULL: nothing is.
 */
const char *framing_check(struct MHD_Connection *connection, const struct request_line *line);
