// SPDX-License-Identifier: Apache-2.0
/* What to do about an error of the daemon, in commands of quantctl. Any thread. */
#pragma once

/* advice_for() - about the error @code; NULL: what the daemon itself says is all there is. */
const char *advice_for(const char *code);
