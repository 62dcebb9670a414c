#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Programs of Slurm that misbehave, and a daemon that is killed again and again. Needs no Slurm, but
the programs of programs.py.

Usage: test_fake.py QUANTD QUANTD-RUN SOURCE. Prints what it does; exits with 0 when all passed.
"""
import os
import random
import signal
import subprocess
import sys
import time

from bench import LONGER, Daemon, fake_cluster, run_tests, wait
from programs import read, write

PROGRAMS = sys.argv[1:4]


def check(number, runs=None):
    artifact = DAEMON.succeeds_once(number)
    nsamples = DAEMON.job(number)["params"]["nsamples"]
    assert artifact == WANTED.setdefault(nsamples, artifact), number
    if runs is not None:
        assert len(FAKE.runs_of(number)) == runs, FAKE.runs_of(number)


def test_good():
    check(DAEMON.submit(), 1)
    first = FAKE.calls("sbatch")[0]
    for wanted in ("--parsable", "--no-requeue", "--export=NONE", "--propagate=NONE",
                   "--partition=gpu", "--mem=2G"):
        assert wanted in first, first
    assert not any(a.startswith(("--account", "--qos", "--gres", "--time")) for a in first), first


def test_banners():
    FAKE.mode(squeue="banner")
    check(DAEMON.submit(), 1)


def test_unknown_state():
    FAKE.mode(squeue="unknown")
    check(DAEMON.submit(), 1)


def test_broken_lists():
    """No list says anything about the jobs that it lacks."""
    for what in ("broken", "html", "fail"):
        FAKE.mode(squeue=what)
        number = DAEMON.submit(LONGER)
        DAEMON.wait_event(number, "layer.finished")
        run = FAKE.runs_of(number)[0]
        # So that it does not end before Slurm is asked, also on a fast machine.
        FAKE.signal(run, signal.SIGSTOP)
        wait("the error is seen", 30,
             lambda: DAEMON.ask("GET", "/v1/devices")[1]["data"][0]["error"])
        assert 'quantd_cluster_up{cluster="slurm"} 0' in DAEMON.metrics().splitlines()
        FAKE.signal(run, signal.SIGCONT)
        # What the run writes comes all the same.
        check(number, 1)
        FAKE.mode()
        wait("Slurm answers", 150,  # it is asked every two minutes at last
             lambda: not DAEMON.ask("GET", "/v1/devices")[1]["data"][0]["error"])


def test_submitted_all_the_same():
    for what in ("late", "failing"):
        FAKE.mode(sbatch=what)
        number = DAEMON.submit()
        wait("submitted", 20, lambda n=number: FAKE.runs_of(n))
        FAKE.mode()
        check(number, 1)


def test_never_submitted():
    FAKE.mode(sbatch="lose")
    before = DAEMON.log().count("Socket timed out")
    number = DAEMON.submit()
    wait("tried", 20, lambda: DAEMON.log().count("Socket timed out") > before)
    FAKE.mode()
    check(number, 1)


def test_refused():
    FAKE.mode(sbatch="refuse")
    number = DAEMON.submit()
    job = wait("paused", 30, lambda: [j for j in [DAEMON.job(number)] if j["paused"]])[0]
    assert job["paused"]["code"] == "slurm_refused", job["paused"]
    assert "Invalid qos" in job["paused"]["detail"], job["paused"]
    FAKE.mode()
    DAEMON.ask("POST", f"/v1/jobs/{number}/cancel")
    DAEMON.wait(number, "cancelled")


def test_cancel_while_scancel_fails():
    FAKE.mode(scancel="fail")
    number = DAEMON.submit(LONGER)
    DAEMON.wait_event(number, "layer.finished")
    DAEMON.ask("POST", f"/v1/jobs/{number}/cancel")
    wait("the error is seen", 30, lambda: "scancel failed" in DAEMON.log())
    assert DAEMON.job(number)["status"] in ("cancelling", "succeeded")
    FAKE.mode()
    wait("its end", 60, lambda: DAEMON.job(number)["finished_at"])


def test_lost():
    """Slurm forgets a job that lives on: the next run waits for its end at the fence."""
    number = DAEMON.submit(LONGER)
    DAEMON.wait_event(number, "layer.finished")
    first = FAKE.runs_of(number)[0]
    FAKE.signal(first, signal.SIGSTOP)
    write(first + "/forgotten", "")
    wait("a second run", 60, lambda: len(FAKE.runs_of(number)) == 2)
    FAKE.signal(first, signal.SIGCONT)
    check(number, 2)
    assert wait("its end", 30, lambda: read(first + "/status")).strip() == "76"


def test_kills():
    """kill -9 at random instants, with 8 jobs on the cluster."""
    numbers = [DAEMON.submit() for _ in range(8)]
    dice = random.Random(1)
    n_kills = 0
    while n_kills < KILLS:
        time.sleep(dice.random() * 0.4)
        DAEMON.kill()
        DAEMON.start()
        n_kills += 1
        if all(DAEMON.job(number)["finished_at"] for number in numbers):
            numbers.append(DAEMON.submit())
    for number in numbers:
        check(number)
    print(f"    {n_kills} kills, {len(numbers)} jobs, {sum(len(FAKE.runs_of(n)) for n in numbers)} runs")


def test_beside_devices():
    """Devices of this machine come first; a job can ask for one or the other."""
    DAEMON.end()
    other = Daemon(*PROGRAMS, HOME, None, **{"slurm-bin": HOME + "/bin", "device": "cpu"})
    other.start()
    try:
        time.sleep(1)
        numbers = [other.submit(LONGER), other.submit(LONGER), other.submit(where="local"),
                   other.submit(where="slurm")]
        engines = [other.wait(number, "succeeded")["engine"] for number in numbers]
        assert [bool(engine) for engine in engines] == [False, True, False, True], engines
    finally:
        other.end()
    DAEMON.start()
    status, problem = DAEMON.ask("POST", "/v1/jobs", {**LONGER, "where": "local"})
    assert status == 422 and problem["field"] == "where", problem


def test_cluster_given_up():
    """Without slurm = yes a device takes the job over; its run on the cluster ends at the fence."""
    # So long that it does not end between two daemons, also on a fast machine.
    number = DAEMON.submit(LONGER, nsamples=384)
    DAEMON.wait_event(number, "layer.finished")
    DAEMON.end()
    other = Daemon(*PROGRAMS, HOME, None, slurm="no", device="cpu")
    other.start()
    try:
        other.wait(number, "succeeded")
        run = FAKE.runs_of(number)[0]
        status = wait("its end", 30, lambda: read(run + "/status")).strip()
        assert status in ("76", "0"), status
        assert other.kinds(number).count("layer.finished") == 3, other.kinds(number)
        alone = other.submit(LONGER, nsamples=384)
        other.wait(alone, "succeeded")
        assert other.artifact(number) == other.artifact(alone), number
    finally:
        other.end()
    DAEMON.start()


def test_check_stopped():
    """quantd --check-cluster leaves nothing when it is stopped."""
    FAKE.mode(sbatch="wait")
    check_cluster = subprocess.Popen(DAEMON.command + ["--check-cluster"], env=DAEMON.environment,
                                     text=True, stdout=subprocess.PIPE)
    run = wait("the trial job", 20, lambda: FAKE.runs_of(0))[0]
    wait("its wait", 20, lambda: "is job" in check_cluster.stdout.readline())
    check_cluster.send_signal(signal.SIGINT)
    said = check_cluster.communicate(timeout=30)[0]
    assert check_cluster.returncode == 1 and "stopped by a signal" in said, said
    assert read(run + "/state") == "CANCELLED", run
    assert not [name for name in os.listdir(HOME + "/jobs") if name.startswith("trial-")], "its folder"
    FAKE.mode()


def test_check_stopped_early():
    """A signal while Slurm is asked: nothing is submitted, and what another check left stays."""
    left = f"{HOME}/jobs/trial-{16 * '0'}"
    os.mkdir(left, 0o700)
    os.utime(left, (time.time() - 7200,) * 2)
    DAEMON.end()
    FAKE.mode(squeue="slow")
    runs, lists, cancels = FAKE.runs_of(0), len(FAKE.calls("squeue")), len(FAKE.calls("scancel"))
    with subprocess.Popen(DAEMON.command + ["--check-cluster"], env=DAEMON.environment, text=True,
                          stdout=subprocess.PIPE) as check_cluster:
        wait("squeue", 20, lambda: len(FAKE.calls("squeue")) > lists)
        check_cluster.send_signal(signal.SIGTERM)
        said = check_cluster.communicate(timeout=60)[0]
    assert check_cluster.returncode == 1 and "stopped by a signal before it was submitted" in said, said
    assert FAKE.runs_of(0) == runs and len(FAKE.calls("scancel")) == cancels, FAKE.calls("scancel")[cancels:]
    assert [name for name in os.listdir(HOME + "/jobs") if name.startswith("trial-")] == [os.path.basename(left)]
    os.rmdir(left)
    FAKE.mode()
    DAEMON.start()


def test_check_killed():
    """What a check that was killed leaves goes with the next one that can cancel its job; nothing else does."""
    FAKE.mode(sbatch="wait")
    with subprocess.Popen(DAEMON.command + ["--check-cluster"], env=DAEMON.environment, text=True,
                          stdout=subprocess.PIPE) as killed:
        before = len(FAKE.runs_of(0))
        run = wait("the trial job", 20, lambda: FAKE.runs_of(0)[before:])[0]
        wait("its wait", 20, lambda: "is job" in killed.stdout.readline())
        killed.kill()
    FAKE.mode()
    jobs, outside, old = HOME + "/jobs", HOME + "/outside", time.time() - 7200
    left = "trial-" + FAKE.nonce(run)
    assert os.path.isdir(f"{jobs}/{left}"), os.listdir(jobs)
    os.mkdir(outside, 0o700)
    write(outside + "/precious", "")
    os.symlink(outside, f"{jobs}/{left}/link")
    others = ["trial-" + letter * 16 for letter in "abcdef"] + ["trial-1", "trial-" + "G" * 16]
    os.symlink(outside, f"{jobs}/{others[0]}")
    write(f"{jobs}/{others[1]}", "a file")
    for name in others[2:]:
        os.mkdir(f"{jobs}/{name}", 0o700)
    os.chmod(f"{jobs}/{others[2]}", 0o755)
    young = others[3]
    for name in os.listdir(jobs):
        if name.startswith("trial-") and name != young:
            os.utime(f"{jobs}/{name}", (old, old), follow_symlinks=False)
    os.utime(outside, (old, old))
    stale = {left, others[4], others[5]}
    if os.getuid() == 0:
        os.chown(f"{jobs}/{others[5]}", 1, 1)
        stale.remove(others[5])

    def left_over():
        return {name for name in os.listdir(jobs) if name.startswith("trial-")}

    wanted = left_over() - stale
    FAKE.mode(scancel="fail")
    subprocess.run(DAEMON.command + ["--check-cluster"], env=DAEMON.environment, stdout=subprocess.DEVNULL,
                   check=False)
    assert left_over() == wanted | stale, (left_over(), wanted | stale)
    FAKE.mode()
    done = subprocess.run(DAEMON.command + ["--check-cluster"], env=DAEMON.environment, text=True,
                          stdout=subprocess.PIPE, check=False)
    assert done.returncode == 0, done.stdout
    assert left_over() == wanted, (left_over(), wanted)
    assert read(run + "/state") == "CANCELLED", run
    assert os.path.exists(outside + "/precious")
    for name in left_over():
        (os.rmdir if os.path.isdir(f"{jobs}/{name}") and not os.path.islink(f"{jobs}/{name}")
         else os.unlink)(f"{jobs}/{name}")


KILLS = int(os.environ.get("KILLS", "20"))
WANTED = {}
with fake_cluster(PROGRAMS) as (HOME, FAKE, DAEMON):
    run_tests([test_good, test_banners, test_unknown_state, test_broken_lists,
               test_submitted_all_the_same, test_never_submitted, test_refused,
               test_cancel_while_scancel_fails, test_lost, test_beside_devices, test_cluster_given_up,
               test_check_stopped, test_check_stopped_early, test_check_killed, test_kills])
