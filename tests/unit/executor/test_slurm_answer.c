// SPDX-License-Identifier: Apache-2.0
/* What the programs of Slurm print, with what sites print around it. */
#include "daemon/executor/slurm/answer.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
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
    assert_int_equal(
        parse("17|RUNNING|n[1-3]|2026-11-28T14:02:11|a|quantd-ab-1-cd|None\n"
              "18|PENDING||N/A|a,b|quantd-ab-2-ef|(ReqNodeNotAvail, UnavailableNodes:n1|2)"
              "\n"),
        0);
    assert_int_equal(n_jobs, 2);
    assert_int_equal(jobs[0].id, 17);
    assert_string_equal(jobs[0].state, "RUNNING");
    assert_string_equal(jobs[0].node, "n[1-3]");
    assert_string_equal(jobs[0].name, "quantd-ab-1-cd");
    assert_true(jobs[0].starts_at > 1700000000000);
    assert_false(jobs[0].several);
    assert_true(jobs[1].several);
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
        "17|RUNNING|n1|N/A|p|a|None",                 /* broken off */
        "17|RUNNING|n1|N/A|p|a|None\n18|PEND",        /* the same */
        "slurm_load_jobs error: Unable to contact\n", /* on the wrong output */
    };
    (void)state;
    for (size_t i = 0; i < sizeof(no_lists) / sizeof(no_lists[0]); i++)
        assert_int_equal(parse(no_lists[i]), -EBADMSG);
    /* With a banner and a header; jobs of others may be called anything. */
    assert_int_equal(
        parse("Welcome!\nJOBID|STATE|NODELIST|START_TIME|PARTITION|NAME|REASON\n"
              "9_[0-3%2]|PENDING||N/A|p|array|None\n7|WHAT|n1|N/A|p|a b|\x01\xff\n"
              "0|RUNNING|n1|N/A|p|zero|None\n-1|RUNNING|n1|N/A|p|minus|None\n"
              "99999999999999999999|RUNNING|n1|N/A|p|large|None\n8||n1|N/A|p|x|None\n"),
        0);
    assert_int_equal(n_jobs, 1);
    assert_string_equal(jobs[0].name, "a b");
    assert_string_equal(jobs[0].reason, "??");
}

static void test_phases(void **state) {
    static const char *const states[][16] = {
        [SLURM_WAITING] = {"PENDING", "CONFIGURING", "REQUEUED", "REQUEUE_HOLD", "REQUEUE_FED",
                           "RESV_DEL_HOLD", "SPECIAL_EXIT", "POWER_UP_NODE", "EXPEDITING"},
        [SLURM_RUNNING] = {"RUNNING", "COMPLETING", "SIGNALING", "STAGE_OUT", "RESIZING",
                           "A_STATE_OF_TOMORROW", ""},
        [SLURM_SUSPENDED] = {"SUSPENDED", "STOPPED"},
        [SLURM_OVER] = {"COMPLETED", "FAILED", "CANCELLED", "TIMEOUT", "DEADLINE", "PREEMPTED",
                        "NODE_FAIL", "BOOT_FAIL", "OUT_OF_MEMORY", "LAUNCH_FAILED", "RECONFIG_FAIL",
                        "REVOKED"},
    };

    (void)state;
    for (size_t phase = 0; phase < sizeof(states) / sizeof(states[0]); phase++) {
        for (size_t i = 0; states[phase][i]; i++)
            assert_int_equal(slurm_phase(states[phase][i]), phase);
    }
}

static bool is_hopeless(const char *reason, bool several) {
    struct slurm_job job = {.several = several};

    snprintf(job.reason, sizeof(job.reason), "%s", reason);
    return slurm_is_hopeless(&job);
}

static void test_hopeless(void **state) {
    static const char *const of_partition[] = {
        "PartitionConfig", "PartitionNodeLimit",   "PartitionTimeLimit", "AccountNotAllowed",
        "QOSNotAllowed",   "QOSMaxCpuPerJobLimit", "MaxMemPerLimit"};
    static const char *const of_job[] = {"BadConstraints", "InvalidAccount", "InvalidQOS",
                                         "launch failed requeued held", "DependencyNeverSatisfied"};
    static const char *const others[] = {"QOSMaxJobsPerUserLimit",
                                         "Priority",
                                         "JobHeldAdmin",
                                         "PartitionDown",
                                         "PartitionInactive",
                                         "None",
                                         ""};

    (void)state;
    for (size_t i = 0; i < sizeof(of_partition) / sizeof(of_partition[0]); i++) {
        assert_true(is_hopeless(of_partition[i], false));
        assert_false(is_hopeless(of_partition[i], true));
    }
    for (size_t i = 0; i < sizeof(of_job) / sizeof(of_job[0]); i++) {
        assert_true(is_hopeless(of_job[i], false));
        assert_true(is_hopeless(of_job[i], true));
    }
    for (size_t i = 0; i < sizeof(others) / sizeof(others[0]); i++)
        assert_false(is_hopeless(others[i], false));
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

static const char *detail(const char *text, const char *names, enum slurm_partitions expected) {
    static char found[400];

    assert_int_equal(slurm_judge_partitions(text, names, found, sizeof(found)), expected);
    return found;
}

static void test_partition(void **state) {
    static const char all[] =
        "*** a banner ***\nbatch*|up|3|idle\nbatch*|up|1|down*\nlow|up|4|idle\n";

    (void)state;
    assert_string_equal(detail(all, NULL, SLURM_USABLE), "'batch' is up, with 3 of 4 nodes usable");
    assert_string_equal(detail(all, "batch", SLURM_USABLE),
                        "'batch' is up, with 3 of 4 nodes usable");
    assert_string_equal(detail(all, "low", SLURM_USABLE), "'low' is up, with 4 of 4 nodes usable");
    assert_string_equal(detail("low|down|2|mixed-\nlow|down|1|drained\n", "low", SLURM_UNUSABLE),
                        "'low' is not up, with 2 of 3 nodes usable");
    assert_string_equal(
        detail("low|up|1|planned\nlow|up|2|planned$\nlow|up|4|reserved\n", "low", SLURM_USABLE),
        "'low' is up, with 3 of 7 nodes usable");
    assert_string_equal(detail("low|up|0|n/a\n", "low", SLURM_UNUSABLE),
                        "'low' is up, with 0 of 0 nodes usable");
    assert_string_equal(
        detail("low|up|-1|idle\nlow|up|99999999999999999999|idle\nlow|up", "low", SLURM_ABSENT),
        "'low' is not there");
    detail("", "low", SLURM_ABSENT);
    detail("low|up|1|idle\n", NULL, SLURM_ABSENT);
}

/* One of them is enough, but all must be there. */
static void test_several_partitions(void **state) {
    static const char text[] = "batch*|up|2|idle\nlow|down|2|idle\nfull|up|2|drained\n";

    (void)state;
    assert_string_equal(detail(text, "low,batch", SLURM_USABLE),
                        "'low' is not up, with 2 of 2 nodes usable; 'batch' is up, with 2 of 2 "
                        "nodes usable");
    detail(text, ",batch,,full,", SLURM_USABLE);
    assert_string_equal(detail(text, "low,full", SLURM_UNUSABLE),
                        "'low' is not up, with 2 of 2 nodes usable; 'full' is up, with 0 of 2 "
                        "nodes usable");
    assert_string_equal(detail(text, "batch,bat,low", SLURM_ABSENT), "'bat' is not there");
    assert_string_equal(detail(text, "low,batch*", SLURM_ABSENT), "'batch*' is not there");
    assert_string_equal(detail(text, ",", SLURM_UNUSABLE), "',' names none");
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_list),
        cmocka_unit_test(test_strange_lists),
        cmocka_unit_test(test_phases),
        cmocka_unit_test(test_hopeless),
        cmocka_unit_test(test_submitted),
        cmocka_unit_test(test_partition),
        cmocka_unit_test(test_several_partitions),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
