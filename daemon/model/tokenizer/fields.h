// SPDX-License-Identifier: Apache-2.0
/* The tokenizer itself: file.c fills it, tokenizer.c leads a text through it. */
#pragma once

#include "daemon/model/tokenizer/added.h"
#include "daemon/model/tokenizer/bpe.h"
#include "daemon/model/tokenizer/split.h"

#define TOKENIZER_SPLITS_MAX 4

struct tokenizer {
    bool nfc;                          /* normalize */
    bool prefix_space;                 /* each stretch between added tokens begins with a space */
    struct added_set added_raw;        /* looked for before the text is normalized */
    struct added_set added_normalized; /* looked for after */
    struct split *splits[TOKENIZER_SPLITS_MAX]; /* one after the other; owned */
    int n_splits;                               /* 0: a stretch is one word */
    struct whole_words whole;                   /* with ignore_merges; else without slots */
    int32_t byte_ids[256]; /* id of each byte alone; -1 for some that UTF-8 never has */
    struct merge_table merges;
    int n_ids;
};
