// SPDX-License-Identifier: Apache-2.0
/*
 * The token file: tokens that the administrator of the machine has chosen. A line each, words with
 * blanks between: NAME ROLE [OWNER] TOKEN; the owner is NAME without one. '#' begins a comment.
 */
#pragma once

#include "daemon/access/tokens.h"

/*
 * token_file_read() - all tokens of the file at @path; the caller frees *ret_rows. Their ids are
 * negative and stay the same as long as the token does. Return: 0; -EINVAL with the line named, or
 * when others may read the file; -errno.
 */
int token_file_read(const char *path, struct token_row **ret_rows, int *ret_n,
                    struct failure *failure);

/* token_rows_equal() - are the @n_a rows at @a the @n_b at @b, in the same order? */
bool token_rows_equal(const struct token_row *a, int n_a, const struct token_row *b, int n_b);
