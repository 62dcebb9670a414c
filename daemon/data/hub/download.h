// SPDX-License-Identifier: Apache-2.0
/* One file, from its URL to its place on disk, verified. */
#pragma once

#include "base/hash.h"
#include "daemon/data/hub/pull.h"

struct hub_download {
    const char *url;
    const char *name; /* what failures and progress call it */
    const char *path; /* where it is published; its folder is there */
    const char *lock; /* a file to lock meanwhile; its folder is there */
    uint64_t size;    /* bytes, as announced */
    enum digest_kind kind;
    bool git;           /* SHA-1 of "blob SIZE", a NUL, and the bytes */
    const char *digest; /* hex; NULL: none is known */
};

/*
 * hub_download() - fetch what is missing of @download, in several ranges at a time, and publish it.
 * When it is there already, nothing is asked. Another process that fetches the same is waited for.
 * Return: 0; -ECANCELED; or -errno with the failure. What came stays for the next try.
 */
int hub_download(struct hub_pull *pull, const struct hub_download *download,
                 struct failure *failure);
