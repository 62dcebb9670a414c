// SPDX-License-Identifier: Apache-2.0
#include "client/screen/interrupt.h"

#include "base/clock.h"

#include <signal.h>

static volatile sig_atomic_t caught, resized;

static void handle(int signal_number) {
    (void)signal_number;
    caught = 1;
}

static void handle_resize(int signal_number) {
    (void)signal_number;
    resized = 1;
}

void interrupt_catch(void) {
    /* Without SA_RESTART, system calls return. A second Ctrl-C ends the process at once. */
    struct sigaction action = {.sa_handler = handle, .sa_flags = SA_RESETHAND};

    sigaction(SIGINT, &action, NULL);
    sigaction(SIGTERM, &action, NULL);
    action = (struct sigaction){.sa_handler = handle_resize};
    sigaction(SIGWINCH, &action, NULL);
}

bool interrupt_resized(void) {
    bool is = resized;

    resized = 0;
    return is;
}

bool interrupt_caught(void) {
    return caught;
}

void interrupt_sleep(double seconds) {
    struct timespec time = clock_timespec(seconds);

    if (!caught)
        nanosleep(&time, NULL);
}
