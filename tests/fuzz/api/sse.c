// SPDX-License-Identifier: Apache-2.0
/* A stream of events, whole and byte by byte: both ways must give the same. */
#include "api/stream/sse.h"
#include "tests/fuzz/fuzz.h"

#include <string.h>

struct seen {
    size_t n;
    uint64_t sum; /* FNV-1a over all that the events say */
};

static void add(struct seen *seen, const char *data, size_t size) {
    for (size_t i = 0; i <= size; i++)
        seen->sum = (seen->sum ^ (unsigned char)data[i]) * 0x100000001b3;
}

static int handle(void *ctx, const struct sse_event *event) {
    struct seen *seen = ctx;

    fuzz_require(event->size <= SSE_DATA_MAX && event->data[event->size] == '\0');
    fuzz_require(strlen(event->id) <= SSE_NAME_MAX && strlen(event->type) <= SSE_NAME_MAX);
    add(seen, event->type, strlen(event->type));
    add(seen, event->id, strlen(event->id));
    add(seen, event->data, event->size);
    seen->n++;
    return 0;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    struct sse_parser whole = {}, bytes = {};
    struct seen first = {}, second = {};
    struct failure failure = {};
    int r = 0, s;

    s = sse_parser_feed(&whole, (const char *)data, size, handle, &first, &failure);
    for (size_t i = 0; i < size && !r; i++)
        r = sse_parser_feed(&bytes, (const char *)data + i, 1, handle, &second, &failure);
    fuzz_require(r == s && first.n == second.n && first.sum == second.sum);
    fuzz_require(strcmp(whole.id, bytes.id) == 0 && whole.retry_ms == bytes.retry_ms);
    fuzz_require(whole.retry_ms >= 0);
    sse_parser_restart(&whole);
    fuzz_require(strcmp(whole.id, bytes.id) == 0);
    sse_parser_done(&whole);
    sse_parser_done(&bytes);
    return 0;
}
