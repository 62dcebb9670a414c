// SPDX-License-Identifier: Apache-2.0
/* The choice of bits is the best one that the budget allows: all choices of small problems say so.
 */
#include "daemon/pipeline/bits/choose.h"

#include "base/macros.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>

#define UNITS 6

static const int bits[] = {2, 3, 4, 8};

static double random_number(uint32_t *seed) {
    *seed = *seed * 1664525u + 1013904223u;
    return (double)(*seed >> 8) / (1 << 24);
}

/* The mean bits of @choice, and its divergence. */
static double mean_of(const struct choice_unit *units, const uint8_t *choice, double *ret_kl) {
    double weights = 0, all = 0;

    *ret_kl = 0;
    for (int i = 0; i < UNITS; i++) {
        weights += units[i].weights;
        all += units[i].weights * bits[choice[i]];
        *ret_kl += units[i].kl[choice[i]];
    }
    return all / weights;
}

/* By trying them all. */
static double best_of_all(const struct choice_unit *units, double target) {
    double best = INFINITY;

    for (int n = 0; n < 1 << (2 * UNITS); n++) {
        uint8_t choice[UNITS];
        double kl;

        for (int i = 0; i < UNITS; i++)
            choice[i] = (uint8_t)(n >> (2 * i) & 3);
        if (mean_of(units, choice, &kl) <= target + 1e-12 && kl < best)
            best = kl;
    }
    return best;
}

static void test_all(void **state) {
    static const double targets[] = {2, 2.2, 2.5, 3, 3.5, 4, 6.3, 8};
    uint32_t seed = 1;

    (void)state;
    for (int round = 0; round < 20; round++) {
        struct choice_unit units[UNITS];
        struct choices *choices = NULL;

        for (int i = 0; i < UNITS; i++) {
            units[i].weights = 64 * (1 + floor(random_number(&seed) * 40));
            for (int c = 0; c < 4; c++)
                units[i].kl[c] = random_number(&seed) / (c * c + 1);
        }
        assert_int_equal(choices_make(units, UNITS, bits, ARRAY_SIZE(bits), &choices), 0);
        for (size_t i = 0; i < ARRAY_SIZE(targets); i++) {
            uint8_t choice[UNITS];
            double kl, said = choices_at(choices, targets[i], choice);

            assert_true(mean_of(units, choice, &kl) <= targets[i] + 1e-12);
            assert_true(fabs(kl - said) < 1e-12);
            assert_true(fabs(kl - best_of_all(units, targets[i])) < 1e-12);
        }
        choices_free(choices);
    }
}

/* Sizes without a common divisor make coarser steps, and never more bits than asked for. */
static void test_coarse(void **state) {
    static struct choice_unit units[300];
    static uint8_t choice[300];
    struct choices *choices = NULL;
    double weights = 0, all = 0, kl;
    uint32_t seed = 7;

    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(units); i++) {
        units[i].weights = 1 + floor(1e6 * random_number(&seed));
        for (int c = 0; c < 4; c++)
            units[i].kl[c] = random_number(&seed) / (1 << (2 * bits[c]));
    }
    assert_int_equal(choices_make(units, ARRAY_SIZE(units), bits, ARRAY_SIZE(bits), &choices), 0);
    kl = choices_at(choices, 3, choice);
    for (size_t i = 0; i < ARRAY_SIZE(units); i++) {
        weights += units[i].weights;
        all += units[i].weights * bits[choice[i]];
        kl -= units[i].kl[choice[i]];
    }
    assert_true(all / weights <= 3 && all / weights > 2.9);
    assert_true(fabs(kl) < 1e-9);
    choices_free(choices);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_all), cmocka_unit_test(test_coarse)};

    return cmocka_run_group_tests(tests, NULL, NULL);
}
