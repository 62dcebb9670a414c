// SPDX-License-Identifier: Apache-2.0
/* What a tokenizer.json says, ready for use. tokenizer.c leads a text through it. */
#pragma once

#include "base/failure.h"
#include "daemon/model/tokenizer/added.h"
#include "daemon/model/tokenizer/bpe.h"

#define PCRE2_CODE_UNIT_WIDTH 8
#include <pcre2.h>

#define TOKENIZER_CODE "tokenizer_invalid"

struct tokenizer {
    bool nfc;                          /* normalize */
    bool prefix_space;                 /* each stretch between added tokens begins with a space */
    bool split_words;                  /* by GPT-2's pattern; else a stretch is one word */
    struct added_set added_raw;        /* looked for before the text is normalized */
    struct added_set added_normalized; /* looked for after */
    pcre2_code *words;                 /* matches one word at the start of a text */
    int32_t byte_ids[256];             /* id of each byte alone; -1 for some that UTF-8 never has */
    struct merge_table merges;
    int n_ids;
};

/* tokenizer_read() - fill all but words from the file at @path. Return: 0 or -errno. */
int tokenizer_read(struct tokenizer *tokenizer, const char *path, struct failure *failure);
