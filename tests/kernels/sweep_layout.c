// SPDX-License-Identifier: Apache-2.0
/* The words of a gptq checkpoint. */
#include "tests/kernels/sweep.h"

#include <string.h>

static void round_trip_case(struct sweep *s, int wbits, int N, int rows, int n) {
    size_t size = (size_t)N * (size_t)rows * (size_t)n, words = size / 32 * (size_t)wbits * 4;
    struct span codes, packed, back;
    uint8_t *host;

    sweep_begin(s);
    host = sweep_host(s, size, 1);
    for (size_t i = 0; i < size; i++)
        host[i] = (uint8_t)sweep_below(s, 1u << wbits);
    codes = sweep_upload(s, host, size);
    packed = sweep_span(s, words);
    back = sweep_span(s, size);
    if (sweep_ok(s, s->ops->pack(s->b, packed, codes, wbits, N, rows, n), "pack") &&
        sweep_ok(s, s->ops->unpack(s->b, back, packed, wbits, N, rows, n), "unpack")) {
        sweep_read(s, packed, words);
        sweep_check(s, memcmp(sweep_read(s, back, size), host, size) == 0,
                    "pack: %d bits, [%d, %d, %d] do not come back", wbits, N, rows, n);
    }
    sweep_end(s);
}

/* Codes @first, @first + @step, ... modulo 2^wbits in one row make @want words. */
static void known_case(struct sweep *s, int wbits, int first, int step, const uint32_t *want) {
    size_t size = (size_t)wbits * 4;
    struct span codes, packed;
    uint8_t host[32];

    sweep_begin(s);
    for (int i = 0; i < 32; i++)
        host[i] = (uint8_t)((first + i * step) & ((1 << wbits) - 1));
    codes = sweep_upload(s, host, sizeof(host));
    packed = sweep_span(s, size);
    if (sweep_ok(s, s->ops->pack(s->b, packed, codes, wbits, 1, 1, 32), "pack")) {
        const uint32_t *got = sweep_read(s, packed, size);

        for (int i = 0; i < wbits; i++)
            sweep_check(s, got[i] == want[i], "pack: %d bits: word %d is %08x, not %08x", wbits, i,
                        got[i], want[i]);
    }
    sweep_end(s);
}

/*
 * 3 bits as AutoGPTQ's packer writes them: word 0 has v0 .. v9 and the low 2 bits of v10, word 1
 * the high bit of v10, v11 .. v20 and the low bit of v21, word 2 the rest.
 */
static void three_bits_case(struct sweep *s) {
    struct span codes, packed;
    uint32_t want[3] = {0}, *got;
    uint8_t v[32];

    sweep_begin(s);
    for (int i = 0; i < 32; i++)
        v[i] = (uint8_t)sweep_below(s, 8);
    for (int i = 0; i < 10; i++) {
        want[0] |= (uint32_t)v[i] << (3 * i);
        want[1] |= (uint32_t)v[11 + i] << (3 * i + 1);
        want[2] |= (uint32_t)v[22 + i] << (3 * i + 2);
    }
    want[0] |= (uint32_t)v[10] << 30;
    want[1] |= (uint32_t)v[10] >> 2 | (uint32_t)v[21] << 31;
    want[2] |= (uint32_t)v[21] >> 1;
    codes = sweep_upload(s, v, sizeof(v));
    packed = sweep_span(s, 12);
    if (sweep_ok(s, s->ops->pack(s->b, packed, codes, 3, 1, 1, 32), "pack")) {
        got = sweep_read(s, packed, 12);
        sweep_check(s, memcmp(got, want, 12) == 0, "pack: 3 bits: %08x %08x %08x", got[0], got[1],
                    got[2]);
    }
    sweep_end(s);
}

/* Words stand [n * wbits / 32, rows]: row 1's first word follows row 0's. */
static void transposed_case(struct sweep *s) {
    struct span codes, packed;
    uint8_t host[2 * 32];
    uint32_t *got;

    sweep_begin(s);
    memset(host, 1, 32);
    memset(host + 32, 2, 32);
    codes = sweep_upload(s, host, sizeof(host));
    packed = sweep_span(s, 32);
    if (sweep_ok(s, s->ops->pack(s->b, packed, codes, 4, 1, 2, 32), "pack")) {
        got = sweep_read(s, packed, 32);
        for (int i = 0; i < 8; i++)
            sweep_check(s, got[i] == (i % 2 ? 0x22222222u : 0x11111111u), "pack: word %d is %08x",
                        i, got[i]);
    }
    sweep_end(s);
}

void sweep_layout(struct sweep *s) {
    static const uint32_t two[] = {0xe4e4e4e4, 0xe4e4e4e4};
    static const uint32_t four[] = {0x76543210, 0xfedcba98, 0x76543210, 0xfedcba98};
    static const uint32_t middle[] = {0x80808080, 0x80808080, 0x80808080, 0x80808080,
                                      0x80808080, 0x80808080, 0x80808080, 0x80808080};
    static const int widths[] = {2, 3, 4, 8};

    known_case(s, 2, 0, 1, two);
    known_case(s, 4, 0, 1, four);
    known_case(s, 8, 128, 0, middle);
    three_bits_case(s);
    transposed_case(s);
    for (size_t i = 0; i < ARRAY_SIZE(widths); i++) {
        round_trip_case(s, widths[i], 1, 1, 32);
        round_trip_case(s, widths[i], 3, 65, 96);
        round_trip_case(s, widths[i], 2, 63, 1024);
    }
}
