#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Each state that Slurm may give a run, with what the run's folder says, and what becomes of the job.
Needs no Slurm, but the programs of programs.py.

Usage: test_states.py QUANTD QUANTD-RUN SOURCE. Prints what it does; exits with 0 when all passed.
"""
import os
import shutil
import signal
import subprocess
import sys
import time

from bench import LONGER, PATIENCE, REQUEST, Daemon, fake_cluster, run_tests, wait
from programs import read, write

PROGRAMS = sys.argv[1:4]


def waiting(**changes):
    """A job that Slurm has taken and does not start by itself, and its run."""
    FAKE.mode(sbatch="wait")
    number = DAEMON.submit({**REQUEST, **changes})
    DAEMON.wait_engine(number, "PENDING")
    FAKE.mode()
    return number, FAKE.runs_of(number)[0]


def working(daemon=None):
    """A job that works, with a layer behind it, and gets no further by itself; and its run."""
    daemon = daemon or DAEMON
    number = daemon.submit(LONGER)
    daemon.wait_event(number, "layer.finished")
    run = FAKE.runs_of(number)[-1]
    FAKE.signal(run, signal.SIGSTOP)
    return number, run


def end_as(run, state):
    write(run + "/state", state)
    FAKE.signal(run, signal.SIGKILL)


def log_of(number, run):
    return f"{HOME}/jobs/{number}/slurm.{FAKE.nonce(run)}.log"


def reasons(number, daemon=None):
    return [event["data"]["reason"] for event in (daemon or DAEMON).events(number)
            if event["type"] == "job.interrupted"]


def warnings(number, daemon=None):
    return [event["data"]["code"] for event in (daemon or DAEMON).events(number)
            if event["type"] == "job.warning"]


def paused(number):
    return wait("paused", 60, lambda: DAEMON.job(number)["paused"])


def cancel(number, daemon=None):
    daemon = daemon or DAEMON
    daemon.ask("POST", f"/v1/jobs/{number}/cancel")
    daemon.wait(number, "cancelled", 60)


def lists(n=3):
    """Slurm is asked @n times more."""
    before = len(FAKE.calls("squeue"))
    wait("lists", 60, lambda: len(FAKE.calls("squeue")) >= before + n)


def test_waits():
    """States of a job that has not started: it waits there, until it is cancelled."""
    number, run = waiting()
    for state in ("CONFIGURING", "REQUEUED", "SPECIAL_EXIT", "PENDING"):
        write(run + "/state", state)
        DAEMON.wait_engine(number, state)
        assert DAEMON.job(number)["status"] == "running" and not DAEMON.job(number)["paused"]
    write(run + "/reason", "JobHeldAdmin")
    wait("its warning", 30, lambda: "slurm_held" in warnings(number))
    lists()
    assert warnings(number) == ["slurm_held"], warnings(number)
    cancel(number)
    assert read(run + "/state") == "CANCELLED"


def test_impossible():
    """A reason that does not go away: the job leaves Slurm, and waits here with it."""
    for reason in ("BadConstraints", "QOSMaxCpuPerJobLimit", "launch failed requeued held"):
        number, run = waiting()
        write(run + "/reason", reason)
        found = paused(number)
        assert found["code"] == "slurm_refused" and reason in found["detail"], found
        assert read(run + "/state") == "CANCELLED" and DAEMON.job(number)["attempt"] == 1
        cancel(number)


def test_several_partitions():
    """What one partition does not give, another one may: Slurm shows the reason of any."""
    number, run = waiting()
    write(run + "/partition", "gpu,other")
    write(run + "/reason", "PartitionTimeLimit")
    wait("its reason", 30, lambda: DAEMON.job(number)["engine"]["reason"] == "PartitionTimeLimit")
    lists()
    assert DAEMON.job(number)["status"] == "running" and read(run + "/state") == "PENDING"
    write(run + "/partition", "gpu")
    assert paused(number)["code"] == "slurm_refused"
    cancel(number)


def test_partitions_looked_at():
    """Of several partitions one must be up, and all must be there."""
    DAEMON.end()
    for modes, bad, found in (
            ("one=up,two=down", False, "'one' is up, with 3 of 4 nodes usable; 'two' is not up"),
            ("one=none", True, "'one' is not there"),
            ("one=down,two=drain", True, "'one' is not up, with 3 of 4 nodes usable; 'two'")):
        FAKE.mode(sinfo=modes)
        other = Daemon(*PROGRAMS, HOME, None, **{"slurm-partition": "one,two", "slurm-bin": HOME + "/bin"})
        done = subprocess.run(other.command + ["--check-cluster"], env=other.environment, text=True,
                              stdout=subprocess.PIPE, check=False)
        assert done.returncode == bad and found in done.stdout, done.stdout
        before = len(other.log())
        other.start()
        try:
            wait("what it found", 30, lambda n=before, text=found: text in other.log()[n:])
            device = other.ask("GET", "/v1/devices")[1]["data"][0]
            assert device["name"] == "Slurm, partitions one,two", device
            assert bool(device["error"]) == bad and (not bad or found in device["error"]["detail"]), device
            assert "--partition=one,two" in FAKE.calls("sinfo")[-1], FAKE.calls("sinfo")[-1]
        finally:
            other.end()
    FAKE.mode()
    DAEMON.start()


def test_suspended_and_silent():
    """The clock of silence stands while Slurm suspends the job. A silent one is begun again."""
    DAEMON.end()
    other = Daemon(*PROGRAMS, HOME, None, **{"slurm-bin": HOME + "/bin", "slurm-silence": "20",
                                             "hang-seconds": "40" if PATIENCE == 1 else "150"})
    other.start()
    try:
        number, run = working(other)
        write(run + "/state", "SUSPENDED")
        other.wait_engine(number, "SUSPENDED")
        before = warnings(number, other)
        time.sleep(24)
        assert warnings(number, other) == before and len(FAKE.runs_of(number)) == 1
        os.unlink(run + "/state")
        other.wait_engine(number, "RUNNING")
        wait("its warning", 60, lambda: "slurm_silent" in warnings(number, other)[len(before):])
        assert other.job(number)["status"] == "running"
        wait("another run", 60, lambda: len(FAKE.runs_of(number)) > 1)
        assert reasons(number, other)[0] == "silent", reasons(number, other)
        assert other.succeeds_once(number) == WANTED["artifact"]
    finally:
        other.end()
    DAEMON.start()


def test_said_before_state():
    """What the run said last holds, whatever Slurm says of it."""
    states = ("FAILED", "NODE_FAIL", "CANCELLED", "TIMEOUT", "OUT_OF_MEMORY", "STATE_OF_TOMORROW")
    numbers = [DAEMON.submit(LONGER) for _ in states]
    for number in numbers:
        wait("its run", 30, lambda n=number: FAKE.runs_of(n) and read(FAKE.runs_of(n)[0] + "/pid"))
    DAEMON.end()
    runs = [FAKE.runs_of(number)[0] for number in numbers]
    for run, state in zip(runs, states):
        assert wait("its end", 200, lambda r=run: read(r + "/status")).strip() == "0", run
        write(run + "/state", state)
    DAEMON.start()
    for number in numbers:
        assert DAEMON.succeeds_once(number) == WANTED.setdefault("artifact", DAEMON.artifact(number))
        assert len(FAKE.runs_of(number)) == 1 and not reasons(number), reasons(number)


def test_failed_by_itself():
    """A job that fails there fails here, with what it said."""
    texts = HOME + "/texts/"
    shutil.copy(texts + "short.txt", texts + "gone.txt")
    number, run = waiting(dataset="file:gone.txt")
    os.unlink(texts + "gone.txt")
    assert subprocess.run(["sh", run + "/script"], check=False).returncode == 1
    write(run + "/state", "COMPLETED")
    error = DAEMON.wait(number, "failed")["error"]
    assert "gone.txt" in error["detail"] and not error["code"].startswith("slurm"), error
    assert DAEMON.job(number)["attempt"] == 1 and len(FAKE.runs_of(number)) == 1


def test_ended_without_a_word():
    """COMPLETED is no success: the run said nothing. Its log is shown."""
    number, run = working()
    with open(log_of(number, run), "a", encoding="utf-8") as file:
        file.write("Segmentation fault\n")
    end_as(run, "COMPLETED")
    DAEMON.wait(number, "succeeded")
    told = reasons(number)
    assert len(told) == 1 and told[0].endswith("which ends: Segmentation fault"), told
    assert DAEMON.job(number)["attempt"] == 2 and DAEMON.artifact(number) == WANTED["artifact"]


def test_never_began():
    """The nodes are at fault: the job waits, with the end of the log, and is tried again."""
    for state, line in (("FAILED", "exec: quantd-run: not found"), ("FAILED", ""),
                        ("LAUNCH_FAILED", ""), ("RECONFIG_FAIL", "")):
        number, run = waiting()
        with open(log_of(number, run), "a", encoding="utf-8") as file:
            file.write(line + "\n")
        write(run + "/state", state)
        found = paused(number)
        assert found["code"] == "slurm_launch_failed" and found["detail"].endswith(
            f"{state} on n1" + (": " + line if line else "")), found
        assert DAEMON.job(number)["attempt"] == 1
        cancel(number)


def test_cancelled_there():
    """By another than quantd: it fails, and may be retried. Before its start it was another's."""
    for state in ("CANCELLED", "REVOKED"):
        number, run = working()
        end_as(run, state)
        error = DAEMON.wait(number, "failed")["error"]
        assert error["code"] == "slurm_cancelled" and error["retryable"], error
    again = DAEMON.ask("POST", f"/v1/jobs/{number}/retry")[1]["id"]
    assert DAEMON.succeeds_once(again) == WANTED["artifact"]
    number, run = waiting()
    write(run + "/state", "CANCELLED")
    assert DAEMON.succeeds_once(number)
    assert reasons(number) == ["cancelled by Slurm for another job"], reasons(number)


def test_cancelled_here():
    """However Slurm calls the end of a job that was to end."""
    for state in ("CANCELLED", "FAILED", "NODE_FAIL", "TIMEOUT", "PREEMPTED"):
        number, run = working()
        FAKE.mode(scancel="nothing")
        DAEMON.ask("POST", f"/v1/jobs/{number}/cancel")
        wait("scancel", 30, lambda r=run: any(
            "--name=" + read(r + "/name") in call for call in FAKE.calls("scancel")))
        end_as(run, state)
        DAEMON.wait(number, "cancelled", 60)
        assert len(FAKE.runs_of(number)) == 1
        FAKE.mode()


def test_node_failed():
    """Not the job's fault. The node is left out once."""
    number, run = working()
    end_as(run, "NODE_FAIL")
    second = wait("another run", 60, lambda: FAKE.runs_of(number)[1:])[0]
    wait("its process", 30, lambda: read(second + "/pid"))
    end_as(second, "BOOT_FAIL")
    wait("another run", 60, lambda: len(FAKE.runs_of(number)) == 3)
    assert DAEMON.succeeds_once(number) == WANTED["artifact"]
    assert reasons(number) == ["node failed"] * 2, reasons(number)
    calls = [call for call in FAKE.calls("sbatch") if any(f"-{number}-" in a for a in call)]
    assert ["--exclude=n1" in call for call in calls] == [False, True, False], calls


def test_no_other_node():
    """A node that is left out while no other one is free is let in again."""
    number, run = working()
    FAKE.mode(sbatch="wait")
    end_as(run, "NODE_FAIL")
    second = wait("another run", 60, lambda: FAKE.runs_of(number)[1:])[0]
    write(second + "/reason", "ReqNodeNotAvail, UnavailableNodes:n2")
    FAKE.mode()
    assert DAEMON.succeeds_once(number) == WANTED["artifact"]
    assert reasons(number) == ["node failed", "no other node was free"], reasons(number)
    calls = [call for call in FAKE.calls("sbatch") if any(f"-{number}-" in a for a in call)]
    assert ["--exclude=n1" in call for call in calls] == [False, True, False], calls
    assert read(second + "/state") == "CANCELLED"


def test_deadline():
    """As a time limit, without a layer: it would never come to an end."""
    number = DAEMON.submit(LONGER, nsamples=1024)
    wait("its start", 60, lambda: DAEMON.job(number)["progress"])
    end_as(FAKE.runs_of(number)[0], "DEADLINE")
    assert DAEMON.wait(number, "failed")["error"]["code"] == "slurm_time_limit"


WANTED = {}
with fake_cluster(PROGRAMS) as (HOME, FAKE, DAEMON):
    run_tests([test_said_before_state, test_waits, test_impossible, test_several_partitions,
               test_partitions_looked_at, test_suspended_and_silent, test_failed_by_itself,
               test_ended_without_a_word, test_never_began, test_cancelled_there,
               test_cancelled_here, test_node_failed, test_no_other_node,
               test_deadline])
