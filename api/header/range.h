// SPDX-License-Identifier: Apache-2.0
/* The Range header (RFC 9110, section 14): one range of bytes. Any thread. */
#pragma once

#include <stdint.h>

enum range_kind {
    RANGE_ALL,           /* no range, one that cannot be read, or several: answer everything */
    RANGE_PART,          /* answer 206 */
    RANGE_UNSATISFIABLE, /* answer 416 */
};

/*
 * range_parse() - what @header (NULL: none) asks of @size bytes; *ret_first and *ret_length are
 * set for RANGE_PART only. Several ranges in one header are answered with everything, as the RFC
 * allows: no client of a checkpoint needs them.
 */
enum range_kind range_parse(const char *header, uint64_t size, uint64_t *ret_first,
                            uint64_t *ret_length);
