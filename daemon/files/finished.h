// SPDX-License-Identifier: Apache-2.0
/*
 * The folder of a finished job as it is found on the disk: result.json, and artifact/ with
 * quantd.json, with manifest.json, and with the files that manifest.json lists; perhaps codes/
 * with a manifest.json of its own. Nothing in it is trusted. daemon/files/ may use base alone. Any
 * thread.
 */
#pragma once

#include "base/failure.h"
#include "base/json.h"

#include <stdatomic.h>

/* Zero-initialise. */
struct finished {
    json_t *result; /* result.json: an object; owned */
    json_t *quantd; /* artifact/quantd.json: an object; owned */
    json_t *codes;  /* codes/manifest.json: an object; NULL: there is none; owned */
};

/*
 * finished_measure() - the bytes of all files in the folder @dir. What cannot be trusted is named:
 * a link, a device, a file of another user. Files that come or go meanwhile are no error.
 * Return: 0; -EPERM (folder_unsafe); or another -errno with the failure.
 */
int finished_measure(const char *dir, uint64_t *ret_bytes, struct failure *failure);

/*
 * finished_read() - what the folder @dir says of itself. Its parts must agree: artifact/ has the
 * files of the manifest, as large as it says, and no others; result.json lists the same; codes/ has
 * those of its own manifest. No file's hash is looked at. The caller owns what is in *ret_finished.
 * Return: 0; -EBADMSG (folder_damaged); or another -errno with the failure.
 */
int finished_read(const char *dir, struct finished *ret_finished, struct failure *failure);

/*
 * finished_verify() - does every file of artifact/ and of codes/ have the hash that @finished says?
 * Reads them all; @stop ends it. Return: 0; -EBADMSG (folder_damaged); -ECANCELED; or another
 * -errno with the failure.
 */
int finished_verify(const char *dir, const struct finished *finished, const atomic_bool *stop,
                    struct failure *failure);

void finished_done(struct finished *finished);
