// SPDX-License-Identifier: Apache-2.0
/* A row of a list of jobs. For daemon/store/ alone. */
#pragma once

#include "daemon/store/store.h"

#include <sqlite3.h>

/* store_read_summary() - the row at @statement, which selected id, version and position. */
struct job_summary store_read_summary(sqlite3_stmt *statement);
