// SPDX-License-Identifier: Apache-2.0
#include "kernels/cpu/choice/core.h"

#include "base/macros.h"

#include <strings.h>

/* By the widest instructions that their products use. */
enum width { WIDTH_SSE, WIDTH_AVX, WIDTH_AVX2, WIDTH_AVX512, WIDTH_UNKNOWN };

static const struct {
    const char *name;
    enum width width;
} cores[] = {
    {"Katmai", WIDTH_SSE},        {"Coppermine", WIDTH_SSE},
    {"Northwood", WIDTH_SSE},     {"Prescott", WIDTH_SSE},
    {"Banias", WIDTH_SSE},        {"Atom", WIDTH_SSE},
    {"Core2", WIDTH_SSE},         {"Penryn", WIDTH_SSE},
    {"Dunnington", WIDTH_SSE},    {"Nehalem", WIDTH_SSE},
    {"Athlon", WIDTH_SSE},        {"Opteron", WIDTH_SSE},
    {"Opteron_SSE3", WIDTH_SSE},  {"Barcelona", WIDTH_SSE},
    {"Bobcat", WIDTH_SSE},        {"Nano", WIDTH_SSE},
    {"Sandybridge", WIDTH_AVX},   {"Bulldozer", WIDTH_AVX},
    {"Piledriver", WIDTH_AVX},    {"Steamroller", WIDTH_AVX},
    {"Excavator", WIDTH_AVX2},    {"Haswell", WIDTH_AVX2},
    {"Zen", WIDTH_AVX2},          {"SkylakeX", WIDTH_AVX512},
    {"Cooperlake", WIDTH_AVX512}, {"Sapphirerapids", WIDTH_AVX512},
};

static enum width width_of(const char *core) {
    for (size_t i = 0; i < ARRAY_SIZE(cores); i++)
        if (strcasecmp(core, cores[i].name) == 0)
            return cores[i].width;
    return WIDTH_UNKNOWN;
}

bool core_is_lesser(const char *core, const char *than) {
    return width_of(core) < width_of(than);
}

size_t core_better(const struct cpu_features *features, const char *chosen,
                   const char *ret_cores[CORES_MAX]) {
    const struct {
        bool runs;
        const char *name;
    } wanted[CORES_MAX] = {
        {features->avx512, "SkylakeX"},
        {features->avx2, features->amd ? "Zen" : "Haswell"},
        {features->avx, "Sandybridge"},
    };
    size_t n = 0;

    for (size_t i = 0; i < CORES_MAX; i++)
        if (wanted[i].runs && core_is_lesser(chosen, wanted[i].name))
            ret_cores[n++] = wanted[i].name;
    return n;
}
