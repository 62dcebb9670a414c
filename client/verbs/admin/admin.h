// SPDX-License-Identifier: Apache-2.0
/* What `quantctl admin` can do; each is a file of this folder. Returns as struct verb's run. */
#pragma once

#include "client/client.h"

/* admin_backup() - backup [FILE]. */
int admin_backup(struct client *client, const struct args *args, struct failure *failure);

/* admin_adopt() - adopt [ID...|--all]. */
int admin_adopt(struct client *client, const struct args *args, struct failure *failure);
