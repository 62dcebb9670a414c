// SPDX-License-Identifier: Apache-2.0
/*
 * Models and texts that are named by a path from here: one that begins with ./, ../ or ~/, or the
 * name of a file or folder here that is below a root of the daemon. A daemon on this machine gets
 * the path below its root, or else the absolute path. For a daemon elsewhere, names stay as they
 * are. One thread.
 */
#pragma once

#include "client/client.h"

/* place_model() - the model @word as a request names it; *ret_name is owned by the caller. */
int place_model(struct client *client, const char *word, char **ret_name, struct failure *failure);

/*
 * place_set() - the same for a data set. "file:PATH" may be followed by "#FIELD"; a path without
 * "file:" gets it.
 */
int place_set(struct client *client, const char *word, char **ret_name, struct failure *failure);
