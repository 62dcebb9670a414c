#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""sbatch, squeue and scancel that are fakes: they run jobs as processes of this machine, and misbehave
when they are asked to. This file is each of them, as HOME/bin/NAME with its mode in HOME/mode.NAME.
What Slurm would know of job N is in the folder HOME/fake/N.
"""
import json
import os
import shutil
import signal
import subprocess
import sys
import time

NAMES = ("sbatch", "squeue", "scancel", "sinfo")


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
    write(folder + "/partition", option("--partition"))
    if mode == "wait":
        write(folder + "/state", "PENDING")
        write(folder + "/reason", "Priority")
        write(folder + "/start", time.strftime("%Y-%m-%dT%H:%M:%S", time.localtime(time.time() + 3000)))
        print(number)
        return
    with open(option("--output"), "ab") as log:
        runner = f"sh {folder}/script; echo $? >{folder}/status"
        job = subprocess.Popen(["sh", "-c", runner], stdin=subprocess.DEVNULL, stdout=log, stderr=log,
                               start_new_session=True,
                               env={**os.environ, **json.loads(read(home + "/sanitizers"))})
    write(folder + "/pid", str(job.pid))
    if mode == "late":
        sys.exit("sbatch: error: Batch job submission failed: Socket timed out on send/recv")
    if mode == "failing":
        sys.exit(1)
    print("*** Welcome to the cluster. Maintenance on 2026-12-24 ***")
    print(f"{number};fake")


def state_of(folder):
    if os.path.exists(folder + "/state"):
        return read(folder + "/state")
    if os.path.exists(folder + "/cancelled"):
        return "CANCELLED" if os.path.exists(folder + "/status") else "COMPLETING"
    status = read(folder + "/status").strip()
    if not status:
        return "RUNNING"
    return "COMPLETED" if status == "0" else "FAILED"


def squeue(home, mode):
    if mode == "fail":
        sys.exit("slurm_load_jobs error: Unable to contact slurm controller (connect failure)")
    if mode == "banner":
        print("*** Welcome to the cluster ***\nJOBID|STATE|NODELIST|START_TIME|PARTITION|NAME|REASON")
    if mode == "html":
        print("<html><body>503</body></html>")
        return
    if mode == "slow":
        time.sleep(3)
    lines = []
    for number in sorted(os.listdir(home + "/fake"), key=int):
        folder = f"{home}/fake/{number}"
        name = read(folder + "/name")
        if not name or os.path.exists(folder + "/forgotten"):
            continue
        state = "NEW_STATE_OF_TOMORROW" if mode == "unknown" else state_of(folder)
        reason = read(folder + "/reason", "None")
        start = read(folder + "/start", "2026-11-28T10:00:00")
        partition = read(folder + "/partition")
        lines.append(f"{number}|{state}|n1|{start}|{partition}|{name}|{reason}")
    lines.append("9999|PENDING||N/A|batch|job of another|(Resources, Priority)")
    text = "\n".join(lines) + "\n"
    sys.stdout.write(text[:len(text) // 2] if mode == "broken" else text)


def scancel(home, mode):
    if mode == "fail":
        sys.exit("scancel: error: Unable to contact slurm controller (connect failure)")
    if mode == "nothing":
        return
    for number in os.listdir(home + "/fake"):
        folder = f"{home}/fake/{number}"
        if read(folder + "/name") == option("--name"):
            write(folder + "/cancelled", "")
            if read(folder + "/state") == "PENDING":
                write(folder + "/state", "CANCELLED")
            try:
                for number in (signal.SIGCONT, signal.SIGTERM) if read(folder + "/pid") else ():
                    os.killpg(int(read(folder + "/pid")), number)
            except ProcessLookupError:
                pass
            if not os.path.exists(folder + "/status"):
                write(folder + "/status", "143")


def sinfo(_home, mode):
    """@mode: "STATE" of all partitions or "NAME=STATE,..." of some; none: it is not there."""
    states = dict(each.split("=") for each in mode.split(",") if "=" in each)
    for name in (option("--partition") or "batch*").split(","):
        state = states.get(name, "up") if states else mode or "up"
        if name and state != "none":
            print(f"{name}|{state}|3|idle\n{name}|{state}|1|down*")


def as_program():
    name = os.path.basename(sys.argv[0])
    home = os.path.dirname(os.path.dirname(os.path.abspath(sys.argv[0])))
    assert "SBATCH_PARTITION" not in os.environ and os.environ["LC_ALL"] == "C"
    with open(home + "/calls", "a", encoding="utf-8") as calls:
        calls.write(json.dumps([name] + sys.argv[1:]) + "\n")
    dict(zip(NAMES, (sbatch, squeue, scancel, sinfo)))[name](home, read(f"{home}/mode.{name}"))


class Programs:
    """These programs in a folder, for a test."""

    def __init__(self, home):
        self.home = home
        os.makedirs(home + "/bin")
        os.makedirs(home + "/fake")
        for name in NAMES:
            shutil.copy(__file__, f"{home}/bin/{name}")
            os.chmod(f"{home}/bin/{name}", 0o755)
        # quantd makes the environment of its programs; a finding is to end a run all the same.
        write(home + "/sanitizers", json.dumps({
            name: value for name, value in os.environ.items() if name.endswith("SAN_OPTIONS")}))
        self.mode()

    def mode(self, **modes):
        for name in NAMES:
            write(f"{self.home}/mode.{name}", modes.get(name, ""))

    def calls(self, name):
        """The arguments of each call of the program @name."""
        calls = [json.loads(line) for line in read(self.home + "/calls").splitlines()]
        return [call[1:] for call in calls if call[0] == name]

    def runs_of(self, number):
        """The folders of the runs of job @number, the oldest first."""
        found = [n for n in os.listdir(self.home + "/fake")
                 if f"-{number}-" in read(f"{self.home}/fake/{n}/name")]
        return [f"{self.home}/fake/{n}" for n in sorted(found, key=int)]

    @staticmethod
    def nonce(run):
        return read(run + "/name").rsplit("-", 1)[1]

    @staticmethod
    def signal(run, number):
        """To all processes of a run."""
        os.killpg(int(read(run + "/pid")), number)

    def end(self):
        for each in os.listdir(self.home + "/fake"):
            pid = read(f"{self.home}/fake/{each}/pid")
            try:
                if pid:
                    os.killpg(int(pid), signal.SIGKILL)
            except ProcessLookupError:
                pass


if __name__ == "__main__":
    as_program()
