// SPDX-License-Identifier: Apache-2.0
/* What the programs of Slurm print, with what sites print around it. */
#include "daemon/executor/slurm/answer.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

static struct slurm_job jobs[8];
static int n_jobs;

static void collect(void *ctx, const struct slurm_job *job) {
    (void)ctx;
    assert_true(n_jobs < 8);
    jobs[n_jobs++] = *job;
}

static int parse(const char *text) {
    n_jobs = 0;
    memset(jobs, 0, sizeof(jobs));
    return slurm_parse_jobs(text, strlen(text), collect, NULL);
}

static void test_list(void **state) {
    (void)state;
    assert_int_equal(parse("17|RUNNING|n[1-3]|2026-11-28T14:02:11|quantd-ab-1-cd|None\n"
                           "18|PENDING||N/A|quantd-ab-2-ef|(ReqNodeNotAvail, UnavailableNodes:n1|2)"
                           "\n"),
                     0);
    assert_int_equal(n_jobs, 2);
    assert_int_equal(jobs[0].id, 17);
    assert_string_equal(jobs[0].state, "RUNNING");
    assert_string_equal(jobs[0].node, "n[1-3]");
    assert_string_equal(jobs[0].name, "quantd-ab-1-cd");
    assert_true(jobs[0].starts_at > 1700000000000);
    assert_int_equal(jobs[1].starts_at, 0);
    assert_string_equal(jobs[1].node, "");
    assert_string_equal(jobs[1].reason, "(ReqNodeNotAvail, UnavailableNodes:n1|2)");
    assert_int_equal(parse(""), 0);
    assert_int_equal(n_jobs, 0);
}

static void test_strange_lists(void **state) {
    static const char *const no_lists[] = {
        "Welcome to the cluster!\n",                  /* a banner, and no list */
        "<html>\n<body>502</body>\n",                 /* a wrapper over HTTP */
        "17|RUNNING|n1|N/A|a|None",                   /* broken off */
        "17|RUNNING|n1|N/A|a|None\n18|PEND",          /* the same */
        "slurm_load_jobs error: Unable to contact\n", /* on the wrong output */
    };
    (void)state;
    for (size_t i = 0; i < sizeof(no_lists) / sizeof(no_lists[0]); i++)
        assert_int_equal(parse(no_lists[i]), -EBADMSG);
    /* With a banner and a header; jobs of others may be called anything. */
    assert_int_equal(parse("Welcome!\nJOBID|STATE|NODELIST|START_TIME|NAME|REASON\n"
                           "9_[0-3%2]|PENDING||N/A|array|None\n7|WHAT|n1|N/A|a b|\x01\xff\n"
                           "0|RUNNING|n1|N/A|zero|None\n-1|RUNNING|n1|N/A|minus|None\n"
                           "99999999999999999999|RUNNING|n1|N/A|large|None\n8||n1|N/A|x|None\n"),
                     0);
    assert_int_equal(n_jobs, 1);
    assert_string_equal(jobs[0].name, "a b");
    assert_string_equal(jobs[0].reason, "??");
}

static void test_phases(void **state) {
    (void)state;
    assert_int_equal(slurm_phase("PENDING"), SLURM_WAITING);
    assert_int_equal(slurm_phase("CONFIGURING"), SLURM_WAITING);
    assert_int_equal(slurm_phase("RUNNING"), SLURM_RUNNING);
    assert_int_equal(slurm_phase("COMPLETING"), SLURM_RUNNING);
    assert_int_equal(slurm_phase("A_STATE_OF_TOMORROW"), SLURM_RUNNING);
    assert_int_equal(slurm_phase("SUSPENDED"), SLURM_SUSPENDED);
    assert_int_equal(slurm_phase("NODE_FAIL"), SLURM_OVER);
    assert_int_equal(slurm_phase("OUT_OF_MEMORY"), SLURM_OVER);
    assert_true(slurm_is_hopeless("PartitionConfig"));
    assert_true(slurm_is_hopeless("QOSMaxCpuPerJobLimit"));
    assert_false(slurm_is_hopeless("QOSMaxJobsPerUserLimit"));
    assert_false(slurm_is_hopeless("Priority"));
    assert_false(slurm_is_hopeless("JobHeldAdmin"));
}

static void test_submitted(void **state) {
    char line[16];

    (void)state;
    assert_int_equal(slurm_parse_submitted("42\n"), 42);
    assert_int_equal(slurm_parse_submitted("Welcome, 2026!\n42;cluster\n"), 42);
    assert_int_equal(slurm_parse_submitted("2026\nSubmitted\n43"), 43);
    assert_int_equal(slurm_parse_submitted("Submitted batch job 42\n"), 0);
    assert_int_equal(slurm_parse_submitted("42x\n-3\n\n"), 0);
    assert_int_equal(slurm_parse_submitted(""), 0);
    assert_int_equal(slurm_parse_submitted(NULL), 0);
    assert_true(slurm_is_unsure("sbatch: error: Batch job submission failed: Socket timed out on "
                                "send/recv operation\n"));
    assert_true(slurm_is_unsure("sbatch: error: Batch job submission failed: Unable to contact "
                                "slurm controller (connect failure)\n"));
    assert_true(slurm_is_unsure(""));
    assert_false(slurm_is_unsure("sbatch: error: invalid partition specified: nope\n"));
    slurm_last_line("one\ntwo\x1b[31m and more than fits\n\n", line, sizeof(line));
    assert_string_equal(line, "two?[31m and mo");
    slurm_last_line("\n\n", line, sizeof(line));
    assert_string_equal(line, "");
}

static void test_partition(void **state) {
    struct slurm_partition partition;

    (void)state;
    slurm_parse_partition("batch*|up|3|idle\nbatch*|up|1|down*\nlow|up|4|idle\n", &partition);
    assert_string_equal(partition.name, "batch");
    assert_true(partition.up);
    assert_int_equal(partition.n_nodes, 4);
    assert_int_equal(partition.n_usable, 3);
    slurm_parse_partition("*** a banner ***\nlow|down|2|mixed-\nlow|down|1|drained\n", &partition);
    assert_string_equal(partition.name, "low");
    assert_false(partition.up);
    assert_int_equal(partition.n_nodes, 3);
    assert_int_equal(partition.n_usable, 2);
    slurm_parse_partition("low|up|1|planned\nlow|up|2|planned$\nlow|up|4|reserved\n", &partition);
    assert_int_equal(partition.n_usable, 3);
    slurm_parse_partition("low|up|-1|idle\nlow|up|99999999999999999999|idle\nlow|up", &partition);
    assert_int_equal(partition.n_nodes, 0);
    slurm_parse_partition("", &partition);
    assert_int_equal(partition.n_nodes, 0);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_list),      cmocka_unit_test(test_strange_lists),
        cmocka_unit_test(test_phases),    cmocka_unit_test(test_submitted),
        cmocka_unit_test(test_partition),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
