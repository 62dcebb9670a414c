// SPDX-License-Identifier: Apache-2.0
/*
 * Bearer tokens for callers over TCP. Those that are made here are rows of the store, those of the
 * token file live as long as it names them. What is compared is a SHA-256 hash, in a time that does
 * not depend on it; nothing else of a token is kept.
 *
 * Any thread. One lock, taken around the store's, never inside it.
 */
#pragma once

#include "api/service.h"
#include "base/cleanup.h"
#include "daemon/store/store.h"

#define TOKENS_MAX 256     /* together with those of the file */
#define TOKENS_FILE_MAX 64 /* of the file */
#define TOKEN_TEXT_MAX 256 /* characters of a token */
#define TOKEN_CHARACTERS "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~+/="
#define TOKEN_FIXED_MIN 20   /* of one that a person chose for the file */
#define TOKEN_SECRET_SIZE 20 /* random bytes of one that is made here */

struct tokens;

/*
 * tokens_open() - what @store (borrowed) has, and the @n_fixed of the file (copied). The caller
 * owns *ret_tokens. Return: 0 or -errno with the failure.
 */
int tokens_open(struct store *store, const struct token_row *fixed, int n_fixed,
                struct tokens **ret_tokens, struct failure *failure);
void tokens_free(struct tokens *tokens); /* NULL is fine */
DEFINE_CLEANUP(struct tokens *, tokens_freep, tokens_free)

/* tokens_set_fixed() - the file has changed: these are its tokens now. */
void tokens_set_fixed(struct tokens *tokens, const struct token_row *fixed, int n_fixed);

/* tokens_exist() - is there any? */
bool tokens_exist(struct tokens *tokens);

/* tokens_find() - the holder of the token @text. Return: 0; -ENOENT: none; -ENOMEM. */
int tokens_find(struct tokens *tokens, const char *text, struct caller *ret_caller);

/* tokens_hold() - is the token @id still one? */
bool tokens_hold(struct tokens *tokens, int64_t id);

/* These are the functions of struct service; what they return is owned by the caller. */
int tokens_list(struct tokens *tokens, json_t **ret_list, struct failure *failure);
int tokens_create(struct tokens *tokens, const struct caller *caller, const json_t *request,
                  json_t **ret_token, struct failure *failure);
int tokens_revoke(struct tokens *tokens, const struct caller *caller, const char *name,
                  struct failure *failure);

/* owner_check() - may jobs be those of @owner? Return: 0, or -EINVAL with the field. */
int owner_check(const char *owner, struct failure *failure);

/* token_check() - may a token be called @name, be of @owner and have the role called @role? */
int token_check(const char *name, const char *owner, const char *role, struct failure *failure);
