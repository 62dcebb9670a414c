// SPDX-License-Identifier: Apache-2.0
/*
 * Hashes all bytes of the model in a folder, as a job does beside its computing, and prints how
 * long that takes alone. Usage: bench_hash MODEL_DIR
 */
#include "base/clock.h"
#include "daemon/model/checkpoint.h"

#include <stdio.h>

static uint64_t bytes_of(const struct checkpoint *checkpoint) {
    uint64_t bytes = 0;

    for (size_t i = 0; i < checkpoint->n_shards; i++)
        bytes += checkpoint->files[i].identity.size;
    return bytes;
}

int main(int argc, char **argv) {
    cleanup(checkpoint_freep) struct checkpoint *checkpoint = NULL;
    struct fingerprint *hashing = NULL;
    struct failure failure = {};
    char text[SHA256_TEXT_SIZE];
    double started, seconds;
    int r;

    if (argc != 2) {
        fprintf(stderr, "usage: bench_hash MODEL_DIR\n");
        return 2;
    }
    r = checkpoint_open(NULL, argv[1], &checkpoint, &failure);
    started = clock_monotonic();
    if (!r)
        r = checkpoint_start_hashing(checkpoint, NULL, &hashing, &failure);
    if (!r)
        r = fingerprint_wait(hashing, text, &failure);
    seconds = clock_monotonic() - started;
    if (!r)
        printf("%zu files, %.2f GB: %.2f s, %.2f GB/s, %s\n", checkpoint->n_shards,
               (double)bytes_of(checkpoint) / 1e9, seconds,
               (double)bytes_of(checkpoint) / 1e9 / seconds, text);
    else
        fprintf(stderr, "bench_hash: %s\n", failure.detail);
    fingerprint_free(hashing); /* before the checkpoint whose files it reads */
    return r ? 1 : 0;
}
