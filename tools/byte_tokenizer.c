// SPDX-License-Identifier: Apache-2.0
#include "tools/byte_tokenizer.h"

#include "base/cleanup.h"
#include "base/file.h"
#include "base/json.h"
#include "base/str.h"

#include <errno.h>
#include <string.h>

/* The vocabulary and merges in the making; a token is the bytes it stands for. */
struct maker {
    json_t *vocab, *merges; /* owned */
    int n, size;            /* ids taken, and that there are */
};

/* GPT-2's letter for a byte: itself where that is printable Latin-1, else the next from U+0100. */
static void append_letter(struct strbuf *text, unsigned int byte) {
    static const struct {
        unsigned int first, last;
    } printable[] = {{'!', '~'}, {0xa1, 0xac}, {0xae, 0xff}};
    unsigned int c = 0x100 + byte;

    for (size_t i = 0; i < ARRAY_SIZE(printable); i++) {
        if (byte >= printable[i].first && byte <= printable[i].last)
            c = byte;
        else if (c > 0xff && byte > printable[i].last)
            c -= printable[i].last - printable[i].first + 1;
    }
    if (c < 0x80)
        strbuf_printf(text, "%c", (int)c);
    else
        strbuf_printf(text, "%c%c", (int)(0xc0 | c >> 6), (int)(0x80 | (c & 0x3f)));
}

static char *letters_of(const unsigned char *bytes, size_t n) {
    cleanup(strbuf_done) struct strbuf text = {};

    for (size_t i = 0; i < n; i++)
        append_letter(&text, bytes[i]);
    return strbuf_steal(&text);
}

/* The next id for the @n bytes. */
static int add_token(struct maker *maker, const unsigned char *bytes, size_t n) {
    cleanup(freep) char *letters = letters_of(bytes, n);

    if (!letters || json_object_set_new(maker->vocab, letters, json_integer(maker->n)))
        return -ENOMEM;
    maker->n++;
    return 0;
}

/* A token of the first @n - 1 bytes, which is one already, and the last. */
static int add_merged(struct maker *maker, const unsigned char *bytes, size_t n) {
    cleanup(freep) char *left = letters_of(bytes, n - 1), *right = letters_of(bytes + n - 1, 1);
    cleanup(freep) char *merge = left && right ? str_format("%s %s", left, right) : NULL;

    if (!merge || json_array_append_new(maker->merges, json_string(merge)))
        return -ENOMEM;
    return add_token(maker, bytes, n);
}

static void encode(int c, unsigned char bytes[3]) {
    bytes[0] = (unsigned char)(0xe0 | c >> 12);
    bytes[1] = (unsigned char)(0x80 | (c >> 6 & 0x3f));
    bytes[2] = (unsigned char)(0x80 | (c & 0x3f));
}

/* Every 64 characters share their first two bytes, which need a token too. */
static int add_characters(struct maker *maker) {
    int r = 0;

    for (int c = BYTE_TOKENIZER_FIRST; c <= BYTE_TOKENIZER_LAST && !r; c++) {
        unsigned char bytes[3];

        encode(c, bytes);
        if (maker->n == maker->size || (c % 64 == 0 && maker->n + 1 == maker->size))
            break;
        if (c % 64 == 0)
            r = add_merged(maker, bytes, 2);
        if (!r)
            r = add_merged(maker, bytes, 3);
    }
    return r;
}

static json_t *document(struct maker *maker) {
    return json_pack("{s:s s:[] s:n s:{s:s s:b s:b s:b} s:{s:s s:b s:b s:b}"
                     " s:{s:s s:b s:b s:b} s:{s:s s:n s:O s:O}}",
                     "version", "1.0", "added_tokens", "normalizer", "pre_tokenizer", "type",
                     "ByteLevel", "add_prefix_space", 0, "trim_offsets", 1, "use_regex", 0,
                     "post_processor", "type", "ByteLevel", "add_prefix_space", 0, "trim_offsets",
                     1, "use_regex", 0, "decoder", "type", "ByteLevel", "add_prefix_space", 0,
                     "trim_offsets", 1, "use_regex", 0, "model", "type", "BPE", "unk_token",
                     "vocab", maker->vocab, "merges", maker->merges);
}

static int write_document(struct maker *maker, const char *path, struct failure *failure) {
    cleanup(json_decrefp) json_t *root = document(maker);
    cleanup(freep) char *text = root ? json_text(root, JSON_INDENT(1)) : NULL;
    int r;

    if (!text)
        return failure_oom(failure);
    r = file_replace(path, text, strlen(text));
    return r ? failure_errno(failure, r, "cannot write", path) : 0;
}

int byte_tokenizer_write(const char *path, int vocab_size, struct failure *failure) {
    struct maker maker = {json_object(), json_array(), 0, vocab_size};
    int r = 0;

    if (vocab_size < 256) {
        r = failure_set(failure, -EINVAL, "invalid_option",
                        "name a tokenizer.json, or take a larger vocabulary",
                        "cannot make a tokenizer of %d tokens: the bytes alone are 256",
                        vocab_size);
    } else {
        for (int b = 0; b < 256 && !r; b++)
            r = add_token(&maker, &(unsigned char){(unsigned char)b}, 1);
        if (!r)
            r = add_characters(&maker);
        r = r ? failure_oom(failure) : write_document(&maker, path, failure);
    }
    json_decref(maker.vocab);
    json_decref(maker.merges);
    return r;
}
