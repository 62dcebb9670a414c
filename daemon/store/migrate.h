// SPDX-License-Identifier: Apache-2.0
/* Brings the schema of a store to the version of this program. */
#pragma once

#include "base/failure.h"

struct store;

/*
 * migrate() - run the migrations that the store has not seen, all in one transaction; called while
 * the store is opened. Return: 0; -EPROTONOSUPPORT (store_newer); or -errno.
 */
int migrate(struct store *store, struct failure *failure);
