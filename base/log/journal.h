// SPDX-License-Identifier: Apache-2.0
/*
 * The journal of systemd. journal_systemd.c speaks to it, journal_none.c stands in its place when
 * quantd is built without. Only base/log/log.c uses it.
 */
#pragma once

#include <sys/uio.h>

/* journal_send() - one record of fields NAME=value. Any thread. Return: 0 or -errno. */
int journal_send(const struct iovec *fields, int n_fields);
