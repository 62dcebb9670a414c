// SPDX-License-Identifier: Apache-2.0
/* What the `model` of a request means: a folder, or a GGUF file, below a model root. */
#pragma once

#include "base/failure.h"

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>

/* Where models are looked up. Zero-initialise, then models_set_roots(). */
struct models {
    pthread_rwlock_t lock; /* of all below */
    char *const *roots;    /* absolute folders; borrowed */
    int n_roots;
};

/*
 * models_set_roots() - look models up in @roots (borrowed) from now on; on return no thread uses
 * the previous ones. Any thread.
 */
void models_set_roots(struct models *models, char *const *roots, int n_roots);

/*
 * models_resolve() - the folder, or GGUF file, of model @name: a path relative to a root or
 * absolute inside one; `org/name[@revision]` is the folder org/name. A path cannot leave its root,
 * through links neither, nor can files of the model that are read. A folder holds config.json. The
 * caller owns *ret_dir, an absolute path.
 *
 * Return: 0; -EINVAL, the field "model" named, with code model_not_found; or -errno. Any thread.
 */
int models_resolve(struct models *models, const char *name, char **ret_dir,
                   struct failure *failure);

/* models_find() - the same, but -ENOENT when no root has it. */
int models_find(struct models *models, const char *name, char **ret_dir, struct failure *failure);

/*
 * models_root() - the root that the folder @dir, which models_find() gave, is in; the caller owns
 * *ret_root, NULL: in none of now. Return: 0 or -ENOMEM. Any thread.
 */
int models_root(struct models *models, const char *dir, char **ret_root);

/* models_job_reference() - is @name `job:<id>`? *ret_id is -1 when what follows is no id. */
bool models_job_reference(const char *name, int64_t *ret_id);

/* models_is_gguf() - is a file of this name a model by itself? */
bool models_is_gguf(const char *name);

/* models_check_dir() - the failure of a folder of model @name without config.json. */
int models_check_dir(int dir_fd, const char *name, struct failure *failure);
