// SPDX-License-Identifier: Apache-2.0
#include "daemon/config/tokens.h"

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
