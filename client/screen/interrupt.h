// SPDX-License-Identifier: Apache-2.0
/* Signals of the terminal: Ctrl-C, and a change of its size. One thread. */
#pragma once

#include <stdbool.h>

/*
 * interrupt_catch() - from now on Ctrl-C (and SIGTERM) no longer ends the process but makes
 * interrupt_caught() true, and the transfers of http.h return -EINTR. A second one ends it.
 */
void interrupt_catch(void);
bool interrupt_caught(void);

/* interrupt_resized() - has the size of the terminal changed since the last call? */
bool interrupt_resized(void);

/* interrupt_sleep() - sleep for @seconds, or until interrupted. */
void interrupt_sleep(double seconds);
