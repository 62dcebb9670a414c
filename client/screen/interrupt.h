// SPDX-License-Identifier: Apache-2.0
/* What a terminal sends beside text: Ctrl-C, and that its size has changed. One thread. */
#pragma once

#include <stdbool.h>

/*
 * interrupt_catch() - from now on Ctrl-C (and SIGTERM) no longer ends the process but makes
 * interrupt_caught() true, and the transfers of http.h return -EINTR. A second one ends it.
 */
void interrupt_catch(void);
bool interrupt_caught(void);

/* interrupt_resized() - has the terminal got another size since the last call? */
bool interrupt_resized(void);

/* interrupt_sleep() - wait that long, or until interrupted. */
void interrupt_sleep(double seconds);
