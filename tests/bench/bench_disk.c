// SPDX-License-Identifier: Apache-2.0
/*
 * Writes to a folder in some ways and prints how fast each is. Usage: bench_disk DIR [GIB]
 */
#include "base/macros.h"
#include "base/str.h"
#include "tests/bench/disk.h"

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

int main(int argc, char **argv) {
    static const struct disk_way ways[] = {
        {1, false, false}, {4, false, false}, {1, false, true}, {2, false, true},
        {4, false, true},  {1, true, true},   {4, true, true},
    };
    uint64_t gib = 2;

    if (argc < 2 || argc > 3 || (argc == 3 && (str_parse_u64(argv[2], 1024, &gib) || gib == 0))) {
        fprintf(stderr, "usage: bench_disk DIR [GIB]\n");
        return 2;
    }
    printf("%d GiB of noise to '%s'\n", (int)gib, argv[1]);
    for (size_t i = 0; i < ARRAY_SIZE(ways); i++) {
        double rate;
        int r = disk_rate(argv[1], (size_t)gib << 30, &ways[i], &rate);

        printf("%d threads, %s, %s: ", ways[i].threads, ways[i].direct ? "O_DIRECT" : "page cache",
               ways[i].sync ? "synced" : "not synced");
        if (r)
            printf("%s\n", strerror(-r));
        else
            printf("%.2f GB/s\n", rate / 1e9);
    }
    return EXIT_SUCCESS;
}
