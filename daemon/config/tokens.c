// SPDX-License-Identifier: Apache-2.0
#include "daemon/config/tokens.h"

#include "base/macros.h"
#include "base/str.h"
#include "daemon/access/token_file.h"

#include <unistd.h>

int config_tokens(struct config *config, const char *credentials, struct failure *failure) {
    cleanup(freep) char *credential = str_format("%s/tokens", credentials ? credentials : "");

    if (!credential)
        return failure_oom(failure);
    if (config->token_file)
        return token_file_read(config->token_file, &config->tokens, &config->n_tokens, failure);
    if (!credentials || access(credential, F_OK))
        return 0;
    return token_file_read(credential, &config->tokens, &config->n_tokens, failure);
}

bool config_same_tokens(const struct config *a, const struct config *b) {
    bool same = a->n_tokens == b->n_tokens;

    for (int i = 0; i < a->n_tokens && same; i++)
        same = a->tokens[i].id == b->tokens[i].id &&
               str_equal(a->tokens[i].name, b->tokens[i].name) &&
               str_equal(a->tokens[i].owner, b->tokens[i].owner) &&
               str_equal(a->tokens[i].role, b->tokens[i].role);
    return same;
}

const char *config_needs_token(const struct config *config) {
    static const char *const local[] = {"unix:", "localhost:", "127.", "[::1]:"};

    for (int i = 0; i < config->listen.n && config->n_tokens == 0; i++) {
        bool found = false;

        for (size_t k = 0; k < ARRAY_SIZE(local); k++)
            found |= str_has_prefix(config->listen.at[i], local[k]);
        if (!found)
            return config->listen.at[i];
    }
    return NULL;
}
