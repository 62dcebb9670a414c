// SPDX-License-Identifier: Apache-2.0
/* Sizes as people read them. Any thread. */
#pragma once

#define BYTES_TEXT_SIZE 32

/* bytes_text() - "15.3 MB": @bytes, not below 0, in powers of 1000. */
void bytes_text(double bytes, char text[BYTES_TEXT_SIZE]);
