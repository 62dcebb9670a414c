// SPDX-License-Identifier: Apache-2.0
/* Hints for errors of the daemon, in commands of quantctl. Any thread. */
#pragma once

/* advice_for() - the hint for the error @code; NULL: use the hint of the daemon. */
const char *advice_for(const char *code);
