#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Programs of Slurm that misbehave, and a daemon that is killed again and again. Needs no Slurm: the
programs are this file, which runs jobs as processes of this machine.

Usage: test_fake.py QUANTD QUANTD-RUN SOURCE. Prints what it does; exits with 0 when all passed.
"""
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time

# ---- as a program of Slurm: HOME/bin/NAME with its mode in HOME/mode.NAME ----


def read(path, default=""):
    try:
        with open(path, encoding="utf-8") as file:
            return file.read()
    except FileNotFoundError:
        return default


def write(path, text):
    with open(path + ".new", "w", encoding="utf-8") as file:
        file.write(text)
    os.rename(path + ".new", path)


def option(name):
    return next((a.split("=", 1)[1] for a in sys.argv if a.startswith(name + "=")), "")


def next_id(home):
    for number in range(1, 10000):
        try:
            os.mkdir(f"{home}/fake/{number}")
            return number
        except FileExistsError:
            pass
    raise AssertionError("too many jobs")


def sbatch(home, mode):
    script = sys.stdin.read()
    if mode == "refuse":
        sys.exit("sbatch: error: Batch job submission failed: Invalid qos specification")
    if mode == "lose":
        sys.exit("sbatch: error: Batch job submission failed: Socket timed out on send/recv")
    number = next_id(home)
    folder = f"{home}/fake/{number}"
    write(folder + "/name", option("--job-name"))
    write(folder + "/script", script + "\n")
    with open(option("--output"), "ab") as log:
        runner = f"sh {folder}/script; echo $? >{folder}/status"
        job = subprocess.Popen(["sh", "-c", runner], stdin=subprocess.DEVNULL, stdout=log,
                               stderr=log, start_new_session=True)
    write(folder + "/pid", str(job.pid))
    if mode == "late":
        sys.exit("sbatch: error: Batch job submission failed: Socket timed out on send/recv")
    if mode == "failing":
        sys.exit(1)
    if mode == "hang":
        time.sleep(1000)
    print("*** Welcome to the cluster. Maintenance on 2026-12-24 ***")
    print(f"{number};fake")


def state_of(folder):
    if os.path.exists(folder + "/cancelled"):
        return "CANCELLED" if os.path.exists(folder + "/status") else "COMPLETING"
    status = read(folder + "/status").strip()
    if not status:
        return "RUNNING"
    return "COMPLETED" if status == "0" else "FAILED"


def squeue(home, mode):
    if mode == "fail":
        sys.exit("slurm_load_jobs error: Unable to contact slurm controller (connect failure)")
    if mode == "hang":
        time.sleep(1000)
    if mode == "banner":
        print("*** Welcome to the cluster ***\nJOBID|STATE|NODELIST|START_TIME|NAME|REASON")
    if mode == "html":
        print("<html><body>503</body></html>")
        return
    lines = []
    for number in sorted(os.listdir(home + "/fake"), key=int):
        folder = f"{home}/fake/{number}"
        name = read(folder + "/name")
        if not name or os.path.exists(folder + "/forgotten"):
            continue
        state = "NEW_STATE_OF_TOMORROW" if mode == "unknown" else state_of(folder)
        lines.append(f"{number}|{state}|n1|2026-11-28T10:00:00|{name}|None")
    lines.append("9999|PENDING||N/A|job of another|(Resources, Priority)")
    text = "\n".join(lines) + "\n"
    sys.stdout.write(text[:len(text) // 2] if mode == "broken" else text)


def scancel(home, mode):
    if mode == "fail":
        sys.exit("scancel: error: Unable to contact slurm controller (connect failure)")
    for number in os.listdir(home + "/fake"):
        folder = f"{home}/fake/{number}"
        if read(folder + "/name") == option("--name"):
            write(folder + "/cancelled", "")
            try:
                os.killpg(int(read(folder + "/pid")), signal.SIGTERM)
            except ProcessLookupError:
                pass
            if not os.path.exists(folder + "/status"):
                write(folder + "/status", "143")


def as_program():
    name = os.path.basename(sys.argv[0])
    home = os.path.dirname(os.path.dirname(os.path.abspath(sys.argv[0])))
    assert "SBATCH_PARTITION" not in os.environ and os.environ["LC_ALL"] == "C"
    with open(home + "/calls", "a", encoding="utf-8") as calls:
        calls.write(json.dumps([name] + sys.argv[1:]) + "\n")
    {"sbatch": sbatch, "squeue": squeue, "scancel": scancel}[name](
        home, read(f"{home}/mode.{name}"))


if os.path.basename(sys.argv[0]) in ("sbatch", "squeue", "scancel"):
    as_program()
    sys.exit(0)

# ---- as the test ----

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from bench import LONGER, Daemon, clean_up, make_home, run_tests, wait  # noqa: E402

PROGRAMS = sys.argv[1:4]


def mode(**modes):
    for name in ("sbatch", "squeue", "scancel"):
        write(f"{HOME}/mode.{name}", modes.get(name, ""))


def runs_of(number):
    return [n for n in os.listdir(HOME + "/fake")
            if f"-{number}-" in read(f"{HOME}/fake/{n}/name")]


def check(number, runs=None):
    job = DAEMON.wait(number, "succeeded", 240)
    kinds = DAEMON.kinds(number)
    assert job["attempt"] == 1, job
    for kind, n in (("layer.finished", 3), ("eval.finished", 1), ("job.succeeded", 1),
                    ("job.queued", 1)):
        assert kinds.count(kind) == n, (number, kinds)
    artifact = DAEMON.artifact(number)
    assert artifact == WANTED.setdefault(job["params"]["nsamples"], artifact), number
    if runs is not None:
        assert len(runs_of(number)) == runs, runs_of(number)


def test_good():
    check(DAEMON.submit(), 1)
    calls = [json.loads(line) for line in read(HOME + "/calls").splitlines()]
    first = next(call for call in calls if call[0] == "sbatch")
    for wanted in ("--parsable", "--no-requeue", "--export=NONE", "--propagate=NONE",
                   "--partition=gpu", "--mem=2G"):
        assert wanted in first, first
    assert not any(a.startswith(("--account", "--qos", "--gres", "--time")) for a in first), first


def test_banners():
    mode(squeue="banner")
    check(DAEMON.submit(), 1)


def test_unknown_state():
    mode(squeue="unknown")
    check(DAEMON.submit(), 1)


def test_broken_lists():
    """No list says anything about the jobs that it lacks."""
    for what in ("broken", "html", "fail"):
        number = DAEMON.submit()
        DAEMON.wait_submitted(number)
        mode(squeue=what)
        wait("the error is seen", 30,
             lambda: DAEMON.ask("GET", "/v1/devices")[1]["data"][0]["error"])
        # What the run writes comes all the same.
        check(number, 1)
        mode()
        wait("Slurm answers", 60,
             lambda: not DAEMON.ask("GET", "/v1/devices")[1]["data"][0]["error"])


def test_submitted_all_the_same():
    for what in ("late", "failing"):
        mode(sbatch=what)
        number = DAEMON.submit()
        wait("submitted", 20, lambda n=number: runs_of(n))
        mode()
        check(number, 1)


def test_never_submitted():
    mode(sbatch="lose")
    before = DAEMON.log().count("Socket timed out")
    number = DAEMON.submit()
    wait("tried", 20, lambda: DAEMON.log().count("Socket timed out") > before)
    mode()
    check(number, 1)


def test_refused():
    mode(sbatch="refuse")
    number = DAEMON.submit()
    job = wait("paused", 30, lambda: [j for j in [DAEMON.job(number)] if j["paused"]])[0]
    assert job["paused"]["code"] == "slurm_refused", job["paused"]
    assert "Invalid qos" in job["paused"]["detail"], job["paused"]
    mode()
    DAEMON.ask("POST", f"/v1/jobs/{number}/cancel")
    DAEMON.wait(number, "cancelled")


def test_cancel_while_scancel_fails():
    mode(scancel="fail")
    number = DAEMON.submit(LONGER)
    DAEMON.wait_event(number, "layer.finished")
    DAEMON.ask("POST", f"/v1/jobs/{number}/cancel")
    wait("the error is seen", 30, lambda: "scancel failed" in DAEMON.log())
    assert DAEMON.job(number)["status"] in ("cancelling", "succeeded")
    mode()
    wait("its end", 60, lambda: DAEMON.job(number)["finished_at"])


def test_lost():
    """Slurm forgets a job that lives on: the next run waits for its end at the fence."""
    number = DAEMON.submit(LONGER)
    DAEMON.wait_event(number, "layer.finished")
    for run in runs_of(number):
        os.kill(int(read(f"{HOME}/fake/{run}/pid")), signal.SIGSTOP)
        os.killpg(int(read(f"{HOME}/fake/{run}/pid")), signal.SIGSTOP)
        write(f"{HOME}/fake/{run}/forgotten", "")
    first = set(runs_of(number))
    wait("a second run", 60, lambda: len(runs_of(number)) == 2)
    for run in first:
        os.killpg(int(read(f"{HOME}/fake/{run}/pid")), signal.SIGCONT)
    check(number, 2)
    for run in first:
        assert wait("its end", 30, lambda r=run: read(f"{HOME}/fake/{r}/status")).strip() == "76"


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
    print(f"    {n_kills} kills, {len(numbers)} jobs, {sum(len(runs_of(n)) for n in numbers)} runs")


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
        run = runs_of(number)[0]
        status = wait("its end", 30, lambda: read(f"{HOME}/fake/{run}/status")).strip()
        assert status in ("76", "0"), status
        assert other.kinds(number).count("layer.finished") == 3, other.kinds(number)
        alone = other.submit(LONGER, nsamples=384)
        other.wait(alone, "succeeded")
        assert other.artifact(number) == other.artifact(alone), number
    finally:
        other.end()
    DAEMON.start()


HOME = make_home()
KILLS = int(os.environ.get("KILLS", "20"))
WANTED = {}
DAEMON = None
try:
    os.makedirs(HOME + "/bin")
    os.makedirs(HOME + "/fake")
    for program in ("sbatch", "squeue", "scancel"):
        shutil.copy(__file__, f"{HOME}/bin/{program}")
        os.chmod(f"{HOME}/bin/{program}", 0o755)
    mode()
    DAEMON = Daemon(*PROGRAMS, HOME, None, **{
        "slurm-bin": HOME + "/bin", "slurm-partition": "gpu", "slurm-memory": "2G"})
    DAEMON.start()
    run_tests([test_good, test_banners, test_unknown_state, test_broken_lists,
               test_submitted_all_the_same, test_never_submitted, test_refused,
               test_cancel_while_scancel_fails, test_lost, test_beside_devices, test_cluster_given_up,
               test_kills])
finally:
    for each in os.listdir(HOME + "/fake"):
        try:
            os.killpg(int(read(f"{HOME}/fake/{each}/pid", "0") or 0) or 2 ** 22, signal.SIGKILL)
        except (ProcessLookupError, ValueError):
            pass
    clean_up(HOME, DAEMON)
