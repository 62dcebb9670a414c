#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""A cluster that fails: nodes, daemons of Slurm, limits. One result each, no second run beside the
first, no event twice.

Usage: test_failures.py QUANTD QUANTD-RUN SOURCE. Prints what it does; exits with 0 when all passed.
KILLS and JOBS in the environment: how often the daemon is killed, how many jobs are drained.
"""
import os
import random
import shutil
import signal
import sys
import time

from bench import LONGER, Cluster, Daemon, clean_up, make_home, need_slurm, run_tests, wait

PROGRAMS = sys.argv[1:4]
KILLS = int(os.environ.get("KILLS", "20"))
JOBS = int(os.environ.get("JOBS", "60"))
# Some seconds of work, so that there is something to interrupt.
LONG = {**LONGER, "nsamples": 256}


def check(number):
    """The bytes of a job that nothing happened to, and each layer and set reported once."""
    ours = DAEMON.succeeds_once(number, 150)
    assert ours == WANTED, [name for name in WANTED if ours.get(name) != WANTED[name]]


def start_long(daemon=None, stop=False, **changes):
    """A job with a layer behind it, and its node. @stop: it gets no further by itself, as a fast
    machine would be done before Slurm acts, which continues it and terminates it."""
    daemon = daemon or DAEMON
    number = daemon.submit(LONG, **changes)
    daemon.wait_event(number, "layer.finished")
    node = wait("its node", 30, lambda: daemon.job(number)["engine"]["node"])
    if stop:
        CLUSTER.run("pkill", "-STOP", "-f", f"{HOME}/jobs/{number} ")
    return number, node


def heal(node):
    CLUSTER.do("up", node)
    wait(node + " idle", 60, lambda: "idle" in CLUSTER.run("sinfo", "-h", "-n", node, "-o", "%t"))


def test_cancelled_by_another():
    number, _ = start_long(stop=True)
    CLUSTER.run("scancel", str(DAEMON.job(number)["engine"]["id"]))
    error = DAEMON.wait(number, "failed", 60)["error"]
    assert error["code"] == "slurm_cancelled" and error["retryable"], error


def test_node_crash():
    number, node = start_long(stop=True)
    CLUSTER.do("crash", node)
    first = next(iter(CLUSTER.jobs_of(number)))
    wait("another run", 60, lambda: len(CLUSTER.jobs_of(number)) == 2)
    # An scancel of the first run that comes late, with the number that is now another's.
    CLUSTER.run("scancel", "--name=" + first, str(DAEMON.wait_submitted(number)))
    job = DAEMON.wait(number, "succeeded", 150)
    assert job["attempt"] == 1 and job["engine"]["node"] != node, job
    told = DAEMON.kinds(number)
    assert "job.interrupted" in told and "job.resumed" in told, told
    check(number)
    heal(node)


def test_slurmd_dead():
    """slurmd alone dies: its job lives on, and ends at the fence when another one takes over."""
    number, node = start_long()
    old = f"{HOME}/jobs/{number}/events." + list(CLUSTER.jobs_of(number))[0].rsplit("-", 1)[1]
    CLUSTER.do("kill", node)
    job = DAEMON.wait(number, "succeeded", 150)
    with open(old, encoding="utf-8") as file:
        last = file.readlines()[-1]
    # It ended by itself: at the fence, or because it was done before anyone missed it.
    assert '"run.ended"' in last, last
    assert job["attempt"] == 1, job
    check(number)
    heal(node)


def test_slurmctld_killed_after_submission():
    """Slurm forgets the job, and gives its number to the next one."""
    for _ in range(3):
        number = DAEMON.submit(LONG)
        DAEMON.wait_submitted(number)
        CLUSTER.do("kill", "ctld")
        time.sleep(1)
        CLUSTER.do("up", "ctld")
        wait("slurmctld", 30, lambda: "UP" in CLUSTER.run("scontrol", "ping"))
        other = DAEMON.submit(LONG)
        for each in (number, other):
            check(each)


def test_slurmctld_hangs():
    """sbatch gives up after it has submitted: there is one job when slurmctld is awake."""
    DAEMON.end()
    slow = HOME + "/bin/sbatch"
    with open(slow, "w", encoding="ascii") as file:
        file.write(f"#!/bin/sh\nkill -STOP {CLUSTER.pid('ctld')}\nexec /usr/bin/sbatch \"$@\"\n")
    os.chmod(slow, 0o755)
    for name in ("squeue", "scancel"):
        os.symlink("/usr/bin/" + name, HOME + "/bin/" + name)
    other = Daemon(*PROGRAMS, HOME, CLUSTER, **{"slurm-bin": HOME + "/bin"})
    other.start()
    try:
        before = other.log().count("sbatch failed")
        number = other.submit(LONG)
        wait("sbatch timed out", 30, lambda: other.log().count("sbatch failed") > before)
        devices = other.ask("GET", "/v1/devices")[1]["data"]
        assert devices[0]["error"]["code"] == "slurm_unreachable", devices
        assert other.job(number)["status"] == "running"
        shutil.copy("/usr/bin/sbatch", slow + ".new")
        os.rename(slow + ".new", slow)
    finally:
        os.kill(CLUSTER.pid("ctld"), signal.SIGCONT)
    try:
        job = other.wait(number, "succeeded", 120)
        assert job["attempt"] == 1 and job["engine"]["id"], job
        assert len(CLUSTER.jobs_of(number)) == 1, CLUSTER.jobs_of(number)
    finally:
        other.end()
    DAEMON.start()
    check(number)


def test_preempted():
    DAEMON.end()
    other = Daemon(*PROGRAMS, HOME, CLUSTER, **{"slurm-partition": "low"})
    other.start()
    try:
        number, node = start_long(other, stop=True, seqlen=512)
        CLUSTER.run("sbatch", "-p", "high", "-w", node, "-c", "2", "--mem=3000", "-o", "/dev/null",
                    "--wrap", "sleep 2")
        job = other.wait(number, "succeeded", 150)
        told = [e["data"].get("reason") for e in other.events(number)
                if e["type"] == "job.interrupted"]
        assert told and job["attempt"] == 1, (told, job["attempt"])
        kinds = other.kinds(number)
        assert kinds.count("layer.finished") == 3 and "job.resumed" in kinds, kinds
    finally:
        other.end()
    DAEMON.start()


def interruptions(number):
    return [event["data"]["reason"] for event in DAEMON.events(number)
            if event["type"] == "job.interrupted"]


def end_soon(number):
    """Slurm's own time limit, some seconds from now; it looks every half minute."""
    CLUSTER.run("scontrol", "update", f"JobId={DAEMON.job(number)['engine']['id']}",
                "EndTime=now+1")


def test_time_limit():
    """A run with a layer since its start is followed by another; without one it would never end."""
    number, _ = start_long(stop=True)
    end_soon(number)
    check(number)
    assert interruptions(number) == ["time limit"], interruptions(number)
    number = DAEMON.submit(LONG, nsamples=2048)
    wait("its start", 60, lambda: DAEMON.job(number)["progress"])
    CLUSTER.run("pkill", "-STOP", "-f", f"{HOME}/jobs/{number} ")
    end_soon(number)
    error = DAEMON.wait(number, "failed", 90)["error"]
    assert error["code"] == "slurm_time_limit", error


def test_requeued():
    """By an admin, in spite of --no-requeue: another run does not wait for what Slurm makes of it."""
    number, _ = start_long()
    first = DAEMON.job(number)["engine"]["id"]
    CLUSTER.run("scontrol", "update", f"JobId={first}", "Requeue=1")
    CLUSTER.run("scontrol", "requeue", str(first))
    check(number)
    assert interruptions(number) == ["requeued by Slurm"], interruptions(number)
    assert DAEMON.job(number)["engine"]["id"] != first


def test_kills():
    """kill -9 of the daemon at random instants, with 8 jobs on the cluster all the time."""
    numbers, dice, n_runs = [], random.Random(1), 0
    for _ in range(KILLS):
        while sum(DAEMON.job(number)["finished_at"] is None for number in numbers) < 8:
            numbers.append(DAEMON.submit(LONGER))
        time.sleep(dice.random())
        DAEMON.kill()
        DAEMON.start()
    artifacts = [DAEMON.succeeds_once(number) for number in numbers]
    assert all(artifact == artifacts[0] for artifact in artifacts)
    for number in numbers:
        n_runs += len({event["data"]["attempt"] for event in DAEMON.events(number)
                       if event["type"] == "job.started"})
    assert n_runs == len(numbers), (n_runs, len(numbers))
    print(f"    {KILLS} kills, {len(numbers)} jobs")


def test_drain():
    """Many short jobs: none is stuck, none runs twice."""
    before = CLUSTER.n_ended()
    numbers = [DAEMON.submit({"model": "olmoe-demo", "method": "rtn", "wbits": 4, "eval": []})
               for _ in range(JOBS)]
    began = time.monotonic()
    for number in numbers:
        DAEMON.wait(number, "succeeded", 60 + JOBS)
        assert DAEMON.job(number)["attempt"] == 1, DAEMON.job(number)
    wait("Slurm has ended them", 30, lambda: CLUSTER.n_ended() - before == JOBS)
    print(f"    {JOBS} jobs in {time.monotonic() - began:.0f} s")


need_slurm()
HOME = make_home()
CLUSTER = None
DAEMON = None
try:
    os.makedirs(HOME + "/bin")
    CLUSTER = Cluster(HOME + "/cluster", 2)
    DAEMON = Daemon(*PROGRAMS, HOME, CLUSTER, **{"owner-jobs": "0", "queue-limit": "0"})
    DAEMON.start()
    first = DAEMON.submit(LONG)
    DAEMON.wait(first, "succeeded")
    WANTED = DAEMON.artifact(first)
    run_tests([test_cancelled_by_another, test_node_crash, test_slurmd_dead,
               test_slurmctld_killed_after_submission, test_slurmctld_hangs, test_preempted,
               test_time_limit, test_requeued, test_kills, test_drain])
finally:
    clean_up(HOME, DAEMON, CLUSTER)
