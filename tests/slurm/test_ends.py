#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""How runs on a cluster end, what is said of it, and options that change meanwhile. Needs no Slurm, but
the programs of programs.py.

Usage: test_ends.py QUANTD QUANTD-RUN SOURCE. Prints what it does; exits with 0 when all passed.
"""
import calendar
import json
import os
import signal
import subprocess
import sys
import time

from bench import LONGER, Daemon, fake_cluster, run_tests, wait
from programs import read, write

PROGRAMS = sys.argv[1:4]


def check(number, runs=None):
    """The bytes of the first job, to which nothing happened."""
    artifact = DAEMON.succeeds_once(number)
    assert artifact == WANTED.setdefault("artifact", artifact), number
    if runs is not None:
        assert len(FAKE.runs_of(number)) == runs, FAKE.runs_of(number)


def end_as(number, state, signals=signal.SIGKILL, log=""):
    """Slurm ends the newest run of job @number: its process group gets the signal."""
    run = FAKE.runs_of(number)[-1]
    if log:
        path = f"{HOME}/jobs/{number}/slurm.{FAKE.nonce(run)}.log"
        with open(path, "a", encoding="utf-8") as file:
            file.write(log + "\n")
    write(run + "/state", state)
    FAKE.signal(run, signals)


def working(**changes):
    """A job that works, with a layer behind it, and gets no further by itself."""
    number = DAEMON.submit(LONGER, **changes)
    DAEMON.wait_event(number, "layer.finished")
    FAKE.signal(FAKE.runs_of(number)[0], signal.SIGSTOP)
    return number


def reasons(number):
    return [event["data"]["reason"] for event in DAEMON.events(number)
            if event["type"] == "job.interrupted"]


def test_undisturbed():
    check(DAEMON.submit(LONGER), 1)


def test_memory():
    """However Slurm says that memory ran out."""
    oom = "slurmstepd: error: Detected 1 oom-kill event(s) in StepId=7.batch."
    for state, log in (("OUT_OF_MEMORY", ""), ("FAILED", oom), ("CANCELLED", oom)):
        number = working()
        end_as(number, state, log=log)
        error = DAEMON.wait(number, "failed")["error"]
        assert error["code"] == "slurm_memory" and "slurm-memory" in error["hint"], error
        assert state in error["detail"] and log in error["detail"], error


def test_killed():
    """A run that says nothing any more: three in a row are the job's fault."""
    number = working()
    for n in (1, 2, 3):
        wait("another run", 60, lambda k=n: len(FAKE.runs_of(number)) == k)
        events = f"{HOME}/jobs/{number}/events.{FAKE.nonce(FAKE.runs_of(number)[-1])}"
        wait("its start", 60, lambda path=events: "run.started" in read(path))
        end_as(number, "FAILED")
    error = DAEMON.wait(number, "failed")["error"]
    assert error["code"] == "too_many_attempts", error
    assert "perhaps because memory ran out" in error["detail"], error
    assert len(reasons(number)) == 2, reasons(number)


def test_preempted():
    number = working()
    end_as(number, "PREEMPTED")
    check(number, 2)
    assert reasons(number) == ["preempted"], reasons(number)


def test_time_limit():
    """With a layer since its start it goes on; without it would never come to an end."""
    number = working()
    FAKE.signal(FAKE.runs_of(number)[0], signal.SIGCONT)
    end_as(number, "TIMEOUT", signal.SIGTERM)
    check(number, 2)
    assert reasons(number) == ["time limit"], reasons(number)
    number = DAEMON.submit(LONGER, nsamples=1024)
    wait("its start", 60, lambda: DAEMON.job(number)["progress"])
    end_as(number, "TIMEOUT")
    error = DAEMON.wait(number, "failed")["error"]
    assert error["code"] == "slurm_time_limit" and "slurm-time" in error["hint"], error


def test_requeued():
    """Put back by Slurm, in spite of --no-requeue: another run takes its place at once."""
    number = working()
    FAKE.signal(FAKE.runs_of(number)[0], signal.SIGCONT)
    write(FAKE.runs_of(number)[0] + "/reason", "BeginTime")
    end_as(number, "PENDING", signal.SIGTERM)
    check(number, 2)
    assert reasons(number) == ["requeued by Slurm"], reasons(number)
    assert read(FAKE.runs_of(number)[0] + "/state") == "CANCELLED", "it would start again"


def test_begun_twice():
    """A controller that forgot that it began the job begins it again."""
    number = working()
    folder = FAKE.runs_of(number)[0]
    FAKE.signal(folder, signal.SIGKILL)
    again = subprocess.run(["sh", folder + "/script"], check=False, capture_output=True, text=True)
    assert again.returncode == 76 and "was begun before" in again.stderr, again
    write(folder + "/state", "FAILED")
    check(number, 2)
    assert reasons(number) == ["begun twice by Slurm"], reasons(number)


def test_stray_scancel():
    """An scancel of an earlier run that comes late means that run alone."""
    number = working()
    end_as(number, "NODE_FAIL")
    wait("another run", 60, lambda: len(FAKE.runs_of(number)) == 2)
    first, second = FAKE.runs_of(number)
    subprocess.run([HOME + "/bin/scancel", "--name=" + read(first + "/name"),
                    os.path.basename(second)], check=True, env={"LC_ALL": "C"})
    check(number, 2)


def test_waits():
    """What a job waits for, and until when, is shown wherever jobs are."""
    FAKE.mode(sbatch="wait")
    number = DAEMON.submit(LONGER)
    DAEMON.wait_engine(number, "PENDING")
    wait("its reason", 20, lambda: DAEMON.job(number)["engine"]["reason"] == "Priority")
    engine = DAEMON.job(number)["engine"]
    assert engine["starts_at"] and engine["node"] == "n1", engine
    jobs = wait("it is counted", 20, lambda: [
        jobs for jobs in [DAEMON.ask("GET", "/v1/devices")[1]["data"][0]["jobs"]]
        if jobs["reasons"]])[0]
    assert jobs == {"waiting": 1, "running": 0, "reasons": {"Priority": 1},
                    "next_start": engine["starts_at"]}, jobs
    start = calendar.timegm(time.strptime(engine["starts_at"][:19], "%Y-%m-%dT%H:%M:%S"))
    lines = DAEMON.metrics().splitlines()
    for line in ('quantd_cluster_jobs{cluster="slurm",state="waiting"} 1',
                 'quantd_cluster_waiting{cluster="slurm",reason="Priority"} 1',
                 f'quantd_cluster_next_start_seconds{{cluster="slurm"}} {start}'):
        assert line in lines, [line for line in lines if "cluster" in line]
    FAKE.mode()
    DAEMON.ask("POST", f"/v1/jobs/{number}/cancel")
    DAEMON.wait(number, "cancelled", 30)


def test_estimate():
    """By the jobs that the cluster has run; of its nodes nothing else is known."""
    status, guess = DAEMON.ask("POST", "/v1/estimate", {**LONGER, "where": "slurm"})
    assert status == 200 and guess["device"]["id"] == "slurm", guess
    assert guess["seconds"] > 0 and guess["history_jobs"] >= 1 and guess["same_model"], guess
    assert guess["memory"]["device"] is None and "cluster" in guess["reasons"]["memory"], guess
    assert guess["size_bytes"] > 0, guess


def test_reload():
    """What SIGHUP changes holds for the next job; what needs a restart is named."""
    DAEMON.end()
    path = HOME + "/quantd.conf"

    def configure(**keys):
        write(path, "[daemon]\n" + "".join(
            f"{name.replace('_', '-')} = {value}\n" for name, value in keys.items()))

    configure(slurm_partition="old", slurm_jobs=1)
    other = Daemon(*PROGRAMS, HOME, None, **{"config": path, "slurm-bin": HOME + "/bin"})
    other.start()
    try:
        before = len(FAKE.calls("sbatch"))
        numbers = [other.submit(LONGER), other.submit(LONGER)]
        wait("the first", 30, lambda: len(FAKE.calls("sbatch")) > before)
        assert "--partition=old" in FAKE.calls("sbatch")[-1], FAKE.calls("sbatch")[-1]
        other.wait_event(numbers[0], "layer.finished")
        assert len(FAKE.calls("sbatch")) == before + 1, "more jobs on the cluster than slurm-jobs"
        configure(slurm_partition="new", slurm_memory="3G", slurm_jobs=2,
                  slurm_option="--constraint=a100")
        other.process.send_signal(signal.SIGHUP)
        wait("the second", 30, lambda: len(FAKE.calls("sbatch")) > before + 1)
        for wanted in ("--partition=new", "--mem=3G", "--constraint=a100"):
            assert wanted in FAKE.calls("sbatch")[-1], FAKE.calls("sbatch")[-1]
        devices = other.ask("GET", "/v1/devices")[1]["data"]
        assert devices[0]["name"] == "Slurm, partition new", devices
        for number in numbers:
            other.wait(number, "succeeded", 240)
        assert "'slurm-partition' has changed" in other.log()
        for state, told in (("down", "'new2' is not up, with 3 of 4 nodes"),
                            ("none", "'new3' is not there")):
            FAKE.mode(sinfo=state)
            configure(slurm_partition=told.split("'")[1], slurm_jobs=2)
            other.process.send_signal(signal.SIGHUP)
            wait("it is not up", 30, lambda text=told: text in json.dumps(
                other.ask("GET", "/v1/devices")[1]["data"][0]["error"]))
        FAKE.mode()
        configure(slurm_partition="new", slurm_jobs=2)
        other.process.send_signal(signal.SIGHUP)
        wait("it is up", 30, lambda: not other.ask("GET", "/v1/devices")[1]["data"][0]["error"])
        configure(slurm_partition="two words")
        other.process.send_signal(signal.SIGHUP)
        wait("it is refused", 30, lambda: "the configuration stays as it was" in other.log())
    finally:
        other.end()
    DAEMON.start()


WANTED = {}
with fake_cluster(PROGRAMS) as (HOME, FAKE, DAEMON):
    run_tests([test_undisturbed, test_memory, test_killed, test_preempted, test_time_limit, test_requeued,
               test_begun_twice, test_stray_scancel, test_waits, test_estimate, test_reload])
