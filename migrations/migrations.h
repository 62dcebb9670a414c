// SPDX-License-Identifier: Apache-2.0
/* The migrations of the store, embedded in the binary. Append-only: a released one never changes.
 */
#pragma once

struct migration {
    const char *name; /* "0001_initial.sql" */
    const char *sql;
};

extern const struct migration migrations[]; /* number i + 1 is migrations[i] */
extern const int n_migrations;
