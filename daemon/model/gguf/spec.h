// SPDX-License-Identifier: Apache-2.0
/* What the format GGUF fixes (docs/gguf.md of ggml), for its reader and its writer. */
#pragma once

#define GGUF_MAGIC "GGUF"
#define GGUF_VERSION 3
#define GGUF_NAME_SIZE 64 /* of a tensor, with the NUL; llama.cpp has the same limit */
#define GGUF_ALIGNMENT 32 /* of the data of each tensor, where general.alignment says nothing */

/* Types of values (enum gguf_type of ggml). */
enum gguf_value {
    GGUF_U32 = 4,
    GGUF_I32 = 5,
    GGUF_F32 = 6,
    GGUF_BOOL = 7,
    GGUF_STRING = 8,
    GGUF_ARRAY = 9,
    GGUF_F64 = 12,
};

/* As llama.cpp tells tokens apart (enum llama_token_type). */
enum gguf_token {
    GGUF_TOKEN_NORMAL = 1,  /* from merges */
    GGUF_TOKEN_CONTROL = 3, /* added, special: no text comes of it */
    GGUF_TOKEN_USER = 4,    /* added, and not special */
    GGUF_TOKEN_UNUSED = 5,  /* none: there are rows of the embedding without a token */
};
