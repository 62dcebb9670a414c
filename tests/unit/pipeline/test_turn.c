// SPDX-License-Identifier: Apache-2.0
/* Which windows go through the layers together: every one once, and never in other batches. */
#include "daemon/pipeline/evaluate/turn.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#define HIDDEN 256
#define SEQLEN 128
#define WINDOW ((size_t)SEQLEN * HIDDEN * sizeof(float))
#define ROOM ((int)(((size_t)256 << 20) / WINDOW)) /* windows of a turn on the cpu */

/* A run of sets with so many windows; a negative number: it has a result already. */
struct fixture {
    struct backend_ops ops;
    struct backend backend;
    struct checkpoint checkpoint;
    struct windows windows[PARAMS_EVALS_MAX];
    json_t *result;
    struct run run;
};

static void open_fixture(struct fixture *f, const int *n_windows, int n_evals, int batch) {
    *f = (struct fixture){.ops = {.act = DTYPE_F32}, .result = json_object()};
    f->backend.ops = &f->ops;
    f->checkpoint.config.hidden_size = HIDDEN;
    f->run = (struct run){.b = &f->backend,
                          .checkpoint = &f->checkpoint,
                          .n_evals = n_evals,
                          .seqlen = SEQLEN,
                          .batch = batch};
    for (int i = 0; i < n_evals; i++) {
        f->windows[i] = (struct windows){.n = abs(n_windows[i]), .seqlen = SEQLEN};
        f->run.evals[i] = (struct eval_set){.windows = &f->windows[i],
                                            .result = n_windows[i] < 0 ? f->result : NULL};
    }
}

/* Checks a part that must follow window @window of set @set. */
static void check_part(const struct fixture *f, const struct turn_part *part, int set, int window,
                       int at) {
    int chunk = turn_chunk(&f->run), n = f->windows[set].n, last = part->first + part->count;

    assert_int_equal(part->set, set);
    assert_int_equal(part->first, window);
    assert_int_equal(part->at, at);
    assert_true(part->count > 0 && last <= n);
    assert_int_equal(part->first / chunk, (last - 1) / chunk);
    assert_int_equal(part->first % chunk % f->run.batch, 0);
    if (last < n && last % chunk)
        assert_int_equal(part->count % f->run.batch, 0);
}

/* Goes through all turns of at most @room windows. Return: how many they are. */
static int check_turns(const struct fixture *f, int room) {
    cleanup(turn_done) struct turn turn = {};
    int set = 0, window = 0, n_turns = 0;

    for (;; n_turns++) {
        int at = 0;

        assert_int_equal(turn_next(&turn, &f->run, room), 0);
        if (turn.n_parts == 0)
            break;
        for (int i = 0; i < turn.n_parts; i++) {
            const struct turn_part *part = &turn.parts[i];

            while (set < f->run.n_evals &&
                   (f->run.evals[set].result || window == f->windows[set].n)) {
                set++;
                window = 0;
            }
            check_part(f, part, set, window, at);
            window += part->count;
            at += part->count;
        }
        assert_true(at <= room);
    }
    while (set < f->run.n_evals && (f->run.evals[set].result || window == f->windows[set].n)) {
        set++;
        window = 0;
    }
    assert_int_equal(set, f->run.n_evals);
    return n_turns;
}

/* With the turns before sets shared them, each chunk had its own. */
static int count_chunks(const struct fixture *f) {
    int chunk = turn_chunk(&f->run), n = 0;

    for (int i = 0; i < f->run.n_evals; i++)
        n += f->run.evals[i].result ? 0 : (f->windows[i].n + chunk - 1) / chunk;
    return n;
}

static void test_shared(void **state) {
    static const int three[] = {140, 50, 256}, rest[] = {-140, 50, 256};
    struct fixture f;

    (void)state;
    open_fixture(&f, three, 3, 16);
    assert_int_equal(turn_chunk(&f.run), 256);
    assert_int_equal(turn_room(&f.run), 446);
    assert_int_equal(check_turns(&f, turn_room(&f.run)), 1);
    assert_int_equal(check_turns(&f, turn_chunk(&f.run)), 2);
    json_decref(f.result);

    open_fixture(&f, rest, 3, 16); /* a set that an earlier attempt has measured */
    assert_int_equal(turn_room(&f.run), 306);
    assert_int_equal(check_turns(&f, turn_room(&f.run)), 1);
    json_decref(f.result);
}

/* More than one turn's memory holds. */
static void test_bounded(void **state) {
    const int two[] = {ROOM - 30, 3 * ROOM + 5};
    struct fixture f;

    (void)state;
    open_fixture(&f, two, 2, 12);
    assert_int_equal(turn_chunk(&f.run), ROOM);
    assert_int_equal(turn_room(&f.run), ROOM);
    assert_int_equal(check_turns(&f, ROOM), 4);
    assert_int_equal(count_chunks(&f), 5);
    json_decref(f.result);
}

static void test_nothing_left(void **state) {
    static const int none[] = {-3, -4};
    struct fixture f;

    (void)state;
    open_fixture(&f, none, 2, 2);
    assert_int_equal(turn_room(&f.run), 4);
    assert_int_equal(check_turns(&f, 4), 0);
    json_decref(f.result);
}

/* Sets of 1 to 16 windows, all batches, all rooms: never more turns than chunks. */
static void test_all_rooms(void **state) {
    struct fixture f;

    (void)state;
    for (int seed = 0; seed < 200; seed++) {
        int sets[5], n_evals = 1 + seed % 5;

        for (int i = 0; i < n_evals; i++)
            sets[i] = (1 + (seed * 7 + i * (3 + seed % 11)) % 16) * (seed % 13 == i ? -1 : 1);
        for (int batch = 1; batch <= 17; batch++) {
            int least = count_chunks((open_fixture(&f, sets, n_evals, batch), &f));

            for (int room = turn_chunk(&f.run); room <= turn_room(&f.run); room++)
                assert_true(check_turns(&f, room) <= least);
            json_decref(f.result);
        }
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_shared),
        cmocka_unit_test(test_bounded),
        cmocka_unit_test(test_nothing_left),
        cmocka_unit_test(test_all_rooms),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
