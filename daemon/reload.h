// SPDX-License-Identifier: Apache-2.0
/*
 * A configuration that was read anew, taken into the running daemon. Each part that can change its
 * mind has a setter; daemon/reload.c has the table of options and setters. Main thread.
 */
#pragma once

#include "daemon/daemon.h"

/*
 * daemon_reload() - bring @config, which is taken over, into effect as far as that goes at run
 * time; an option that needs a restart is named in the log.
 * Return: how many options need a restart.
 */
int daemon_reload(struct daemon *daemon, struct config *config);
