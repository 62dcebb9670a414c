// SPDX-License-Identifier: Apache-2.0
/* Entity tags (RFC 9110, section 8.8.3). Any thread. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#define ETAG_SIZE 80 /* the longest is a quoted SHA-256 */

/*
 * etag_of_version() - the tag of a version that the service gave; @boot, a number of this process
 * and of what the caller sees, keeps other tags from matching.
 */
void etag_of_version(uint32_t boot, uint64_t version, char ret_tag[ETAG_SIZE]);

/* etag_known_version() - the version in the first tag of @list that is of this @boot, or 0. */
uint64_t etag_known_version(const char *list, uint32_t boot);

/*
 * etag_matches() - is @tag (strong, quoted) in @list, a value of If-None-Match or NULL, or is the
 * list "*"? Weak tags match too.
 */
bool etag_matches(const char *list, const char *tag);
