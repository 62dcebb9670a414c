#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Jobs on a cluster with Slurm: bytes, cancelling, a daemon that is killed or away.

Usage: test_jobs.py QUANTD QUANTD-RUN SOURCE. Prints what it does; exits with 0 when all passed.
"""
import os
import shutil
import signal
import subprocess
import sys
import time

from bench import (LONGER, REQUEST, Cluster, Daemon, clean_up, make_home, need_slurm, run_tests,
                   wait)

PROGRAMS = sys.argv[1:4]


def local_bytes():
    """What the job leaves on the cpu of this machine, and its events."""
    daemon = Daemon(*PROGRAMS, HOME + "/local", slurm="no", device="cpu")
    daemon.start()
    try:
        found = {}
        for name, request in (("short", REQUEST), ("longer", LONGER)):
            number = daemon.submit(request)
            assert daemon.wait(number, "succeeded")["engine"] is None
            found[name] = daemon.artifact(number), daemon.kinds(number)
        return found
    finally:
        daemon.end()


def check_whole(number, what="short"):
    """The bytes of the local job, and each event once."""
    artifact, kinds = WANTED[what]
    ours = DAEMON.artifact(number)
    assert ours == artifact, [name for name in artifact if ours.get(name) != artifact[name]]
    told = [kind for kind in DAEMON.kinds(number)
            if kind not in ("job.interrupted", "job.resumed", "job.warning")]
    # An attempt that begins again loads and calibrates again; layers and sets are done once.
    for kind in ("layer.finished", "eval.finished", "job.queued", "job.succeeded"):
        assert told.count(kind) == kinds.count(kind), (number, kind, told)


def test_same_bytes():
    number = DAEMON.submit()
    job = DAEMON.wait(number, "succeeded")
    check_whole(number)
    assert DAEMON.kinds(number) == WANTED["short"][1], DAEMON.kinds(number)
    assert job["engine"]["name"] == "slurm" and job["engine"]["id"] > 0, job["engine"]
    assert job["params"]["nsamples"] == 16 and job["model"]["fingerprint"], job
    assert sorted(os.listdir(HOME + "/jobs")) == [str(number)]


def test_several_at_once():
    numbers = [DAEMON.submit() for _ in range(4)]
    for number in numbers:
        DAEMON.wait(number, "succeeded")
        check_whole(number)
    assert [len(CLUSTER.jobs_of(number)) for number in numbers] == [1, 1, 1, 1], CLUSTER.jobs()


def test_cancel():
    CLUSTER.run("scontrol", "update", "partitionname=batch", "state=down")
    waiting = DAEMON.submit()
    DAEMON.wait_engine(waiting, "PENDING")
    DAEMON.ask("POST", f"/v1/jobs/{waiting}/cancel")
    DAEMON.wait(waiting, "cancelled", 20)
    CLUSTER.run("scontrol", "update", "partitionname=batch", "state=up")
    running = DAEMON.submit(LONGER)
    DAEMON.wait_event(running, "layer.finished")
    wait("its node", 30, lambda: DAEMON.job(running)["engine"]["node"] in ("n1", "n2"))
    DAEMON.ask("POST", f"/v1/jobs/{running}/cancel")
    DAEMON.wait(running, "cancelled", 20)
    wait("the folder is gone", 10, lambda: not os.path.exists(f"{HOME}/jobs/{running}"))
    for name, states in {**CLUSTER.jobs_of(waiting), **CLUSTER.jobs_of(running)}.items():
        assert states in (["CANCELLED"], ["COMPLETING"]), (name, states)


def fake_program(name, text):
    """A program of Slurm that does something before, or after, or instead of the real one."""
    folder = HOME + "/bin"
    os.makedirs(folder, exist_ok=True)
    for each in ("sbatch", "squeue", "scancel"):
        if each != name and not os.path.exists(f"{folder}/{each}"):
            os.symlink(f"/usr/bin/{each}", f"{folder}/{each}")
    path = f"{folder}/{name}"
    if os.path.lexists(path):
        os.unlink(path)
    with open(path, "w", encoding="ascii") as file:
        file.write("#!/bin/sh\n" + text)
    os.chmod(path, 0o755)


def real_programs():
    shutil.rmtree(HOME + "/bin", ignore_errors=True)
    os.makedirs(HOME + "/bin")
    for name in ("sbatch", "squeue", "scancel"):
        os.symlink(f"/usr/bin/{name}", f"{HOME}/bin/{name}")


def killed_at(text):
    """The daemon is killed while sbatch does what @text says; the job ends all the same."""
    marker = HOME + "/marker"
    if os.path.exists(marker):
        os.unlink(marker)
    fake_program("sbatch", text.replace("MARKER", marker))
    number = DAEMON.submit()
    wait("sbatch", 20, lambda: os.path.exists(marker))
    DAEMON.kill()
    with open(marker, encoding="ascii") as file:
        try:
            os.killpg(int(file.read()), signal.SIGKILL)
        except ProcessLookupError:
            pass
    real_programs()
    DAEMON.start()
    assert DAEMON.job(number)["status"] == "running", DAEMON.job(number)
    job = DAEMON.wait(number, "succeeded")
    assert job["attempt"] == 1, job
    check_whole(number)
    return CLUSTER.jobs_of(number)


def test_killed_before_sbatch():
    """Nothing was submitted: the name is looked for, and then the job is submitted again."""
    states = killed_at("echo $$ >MARKER; sleep 100")
    assert len(states) == 1, states


def test_killed_before_the_id():
    """It was submitted: the job is found by its name, and there is no second one."""
    states = killed_at('/usr/bin/sbatch "$@" >/dev/null; echo $$ >MARKER; sleep 100')
    assert len(states) == 1, states


def test_killed_during_the_run():
    number = DAEMON.submit(LONGER)
    DAEMON.wait_event(number, "layer.finished")
    for _ in range(3):
        DAEMON.kill()
        DAEMON.start()
        time.sleep(0.5)
    job = DAEMON.wait(number, "succeeded")
    assert job["attempt"] == 1, job
    check_whole(number, "longer")
    assert DAEMON.kinds(number) == WANTED["longer"][1], DAEMON.kinds(number)


def test_stopped_and_away():
    """A daemon that is stopped leaves the job alone; it is away until the end, and hears of all."""
    number = DAEMON.submit()
    DAEMON.wait_submitted(number)
    DAEMON.end()
    folder = f"{HOME}/jobs/{number}"
    wait("the end of the run", 60, lambda: os.path.exists(folder + "/artifact/manifest.json"))
    time.sleep(1)
    DAEMON.start()
    DAEMON.wait(number, "succeeded")
    check_whole(number)
    assert DAEMON.kinds(number) == WANTED["short"][1], DAEMON.kinds(number)


def test_ignores_term():
    """A program that ignores TERM is killed after KillWait."""
    DAEMON.end()
    path = HOME + "/stubborn"
    with open(path, "w", encoding="ascii") as file:
        file.write(f"#!/bin/sh\ntrap '' TERM USR1 CONT\ntouch {HOME}/stubborn.is\nsleep 50\n")
    os.chmod(path, 0o755)
    other = Daemon(*PROGRAMS, HOME, CLUSTER, **{"slurm-run": path, "slurm-bin": HOME + "/bin"})
    other.start()
    try:
        number = other.submit()
        other.wait_engine(number, "RUNNING")
        wait("the trap", 20, lambda: os.path.exists(HOME + "/stubborn.is"))
        other.ask("POST", f"/v1/jobs/{number}/cancel")
        other.wait(number, "cancelled", 30)
    finally:
        other.end()
    DAEMON.start()


def test_refused():
    """What Slurm refuses waits with its reason, and can be cancelled."""
    DAEMON.end()
    for option, said in (("--partition=nowhere", "artition"), ("--mem=99999", "configuration"),
                         ("--nodes=5", "PartitionConfig")):
        other = Daemon(*PROGRAMS, HOME, CLUSTER, **{"slurm-option": option})
        other.start()
        try:
            number = other.submit()
            job = wait("paused", 40, lambda: [j for j in [other.job(number)] if j["paused"]])[0]
            assert job["paused"]["code"] == "slurm_refused", job["paused"]
            assert said.lower() in job["paused"]["detail"].lower(), job["paused"]
            assert job["attempt"] == 1 and job["status"] == "queued", job
            other.ask("POST", f"/v1/jobs/{number}/cancel")
            other.wait(number, "cancelled", 20)
        finally:
            other.end()
    other = Daemon(*PROGRAMS, HOME, CLUSTER, **{"slurm-run": "/nowhere/quantd-run"})
    other.start()
    try:
        number = other.submit()
        job = wait("paused", 40, lambda: [j for j in [other.job(number)] if j["paused"]])[0]
        assert job["paused"]["code"] == "slurm_launch_failed", job["paused"]
        assert "not found" in job["paused"]["detail"], job["paused"]
    finally:
        other.end()
    DAEMON.start()
    # The daemon with good options starts it when its time has come.
    DAEMON.wait(number, "succeeded")


def test_several_partitions():
    """A job that only one of them can take waits for that one, whatever reason Slurm shows."""
    DAEMON.end()
    CLUSTER.run("scontrol", "update", "partitionname=low", "maxtime=1")
    other = Daemon(*PROGRAMS, HOME, CLUSTER, **{"slurm-partition": "low,batch", "slurm-time": "10"})
    other.start()
    try:
        filler = CLUSTER.run("sbatch", "--parsable", "-N2", "--exclusive", "-o/dev/null", "-D/",
                             "--wrap", "sleep 100").strip()
        wait("busy nodes", 20, lambda: CLUSTER.jobs().get("wrap") == ["RUNNING"])
        number = other.submit()
        reason = wait("its reason", 30, lambda: (other.job(number)["engine"] or {}).get("reason"))
        time.sleep(5)
        job = other.job(number)
        assert job["status"] == "running" and job["engine"]["state"] == "PENDING", (reason, job)
        print(f"    it waits: {job['engine']['reason']}")
        CLUSTER.run("scancel", filler)
        other.wait(number, "succeeded")
        assert len(CLUSTER.jobs_of(number)) == 1, CLUSTER.jobs_of(number)
        device = other.ask("GET", "/v1/devices")[1]["data"][0]
        assert device["name"] == "Slurm, partitions low,batch" and not device["error"], device
    finally:
        other.end()
        CLUSTER.run("scontrol", "update", "partitionname=low", "maxtime=UNLIMITED")
    DAEMON.start()
    check_whole(number)


def test_checked():
    """quantd --check-cluster, as an admin runs it before the first job."""
    def check(**options):
        daemon = Daemon(*PROGRAMS, HOME + "/checked", CLUSTER, **options)
        os.makedirs(HOME + "/checked/jobs", exist_ok=True)
        done = subprocess.run(daemon.command + ["--check-cluster"], env=daemon.environment, text=True,
                              capture_output=True, timeout=300, check=False)
        assert not os.listdir(HOME + "/checked/jobs"), "the trial job's folder stays"
        return done.returncode, done.stdout

    status, told = check()
    assert status == 0 and "fail" not in told, told
    for wanted in ("'batch' is up, with 2 of 2 nodes usable", "is seen by", "quantd-run there is", "cpu: "):
        assert wanted in told, (wanted, told)
    status, told = check(**{"slurm-partition": "low,batch"})
    assert status == 0 and ("'low' is up, with 2 of 2 nodes usable; 'batch' is up, with 2 of 2 nodes "
                            "usable") in told, told
    for options, wanted in (({"slurm-partition": "nope"}, "'nope' is not there"),
                            ({"slurm-partition": "batch,nope"}, "'nope' is not there"),
                            ({"slurm-run": "/nowhere/quantd-run"}, "not found"),
                            ({"slurm-memory": "99999"}, "configuration is not available"),
                            ({"slurm-bin": HOME}, "cannot run")):
        status, told = check(**options)
        assert status == 1 and wanted in told, (options, told)


need_slurm()
HOME = make_home()
CLUSTER = None
DAEMON = None
try:
    os.makedirs(HOME + "/local")
    WANTED = local_bytes()
    CLUSTER = Cluster(HOME + "/cluster")
    real_programs()
    DAEMON = Daemon(*PROGRAMS, HOME, CLUSTER, **{"slurm-bin": HOME + "/bin"})
    DAEMON.start()
    run_tests([test_same_bytes, test_several_at_once, test_cancel, test_killed_before_sbatch,
               test_killed_before_the_id, test_killed_during_the_run, test_stopped_and_away,
               test_ignores_term, test_refused, test_several_partitions, test_checked])
finally:
    clean_up(HOME, DAEMON, CLUSTER)
