#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""quantd under a service manager that this test plays: readiness, reload, watchdog, leases.

Usage: test_operations.py QUANTD SOURCE [HANG_LIBRARY]. Prints what it does; exits with 0 when all passed.
"""
import http.client
import json
import os
import resource
import shutil
import signal
import socket
import sqlite3
import subprocess
import sys
import tempfile
import threading
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), ".."))

from unix_http import UnixConnection  # noqa: E402

QUANTD, SOURCE = sys.argv[1:3]
HANG = sys.argv[3] if len(sys.argv) > 3 else None
HOME = tempfile.mkdtemp(prefix="quantd-ops-")
SOCKET, CONFIG = HOME + "/quantd.sock", HOME + "/quantd.conf"
SECONDS = 120
EVAL = json.dumps({"kind": "eval", "model": "olmoe-demo", "eval": "file:short.txt", "seqlen": 256})


class Manager:
    """The other end of NOTIFY_SOCKET: all that arrives, in order."""

    def __init__(self):
        self.path = HOME + "/notify"
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.socket.bind(self.path)
        self.lines = []
        # All the time, as the real one: a sender waits until it has room.
        threading.Thread(target=self.listen, daemon=True).start()

    def listen(self):
        while True:
            self.lines += self.socket.recv(4096).decode().splitlines()

    def wait_for(self, prefix, start=0):
        """Index of the first line from START on that begins with PREFIX."""
        end = time.monotonic() + SECONDS
        while time.monotonic() < end:
            for i in range(start, len(self.lines)):
                if self.lines[i].startswith(prefix):
                    return i
            time.sleep(0.01)
        raise AssertionError(f"'{prefix}' never came: {self.lines[start:]}\n{log()}")


def log():
    with open(HOME + "/log", encoding="utf-8") as f:
        return f.read()


def configure(*lines):
    with open(CONFIG + ".new", "w", encoding="utf-8") as f:
        f.write("\n".join(("[daemon]", "device = cpu", "listen = unix:" + SOCKET,
                           "listen = 127.0.0.1:0", *lines)) + "\n")
    os.rename(CONFIG + ".new", CONFIG)


def start(manager, **environment):
    at = len(manager.lines)
    with open(HOME + "/log", "ab") as log_file:
        process = subprocess.Popen(
            [QUANTD, "--config", CONFIG, "--state-dir", HOME + "/state", "--cache-dir",
             HOME + "/cache"], stderr=log_file,
            env={**os.environ, "HF_HUB_OFFLINE": "1", "NOTIFY_SOCKET": manager.path, **environment})
    manager.wait_for("READY=1", at)
    return process


def curl(path, *options):
    done = subprocess.run(
        ["curl", "-sS", "--max-time", "60", "--unix-socket", SOCKET, "-w", "\n%{http_code}",
         "http://localhost" + path, *options], capture_output=True, check=False)
    body, _, status = done.stdout.rpartition(b"\n")
    return int(status or 0), json.loads(body or b"null")


def reload(manager, process):
    """The state that the manager shows afterwards."""
    at = len(manager.lines)
    process.send_signal(signal.SIGHUP)
    at = manager.wait_for("RELOADING=1", at)
    assert manager.lines[at + 1].startswith("MONOTONIC_USEC="), manager.lines[at:]
    manager.wait_for("READY=1", at)
    return manager.lines[manager.wait_for("STATUS=", at)]


def model_code(name):
    status, problem = curl("/v1/jobs", "-H", "Content-Type: application/json", "-d",
                           json.dumps({"model": name, "wbits": 16, "eval": "file:no.txt"}))
    return status, problem.get("code")


def check_reload(manager, process):
    assert curl("/readyz")[0] == 200
    assert model_code("olmoe-demo")[1] == "model_not_found"

    configure("disk-floor = 1000000T", f"model-root = {SOURCE}/data", "log-level = debug")
    assert reload(manager, process) == "STATUS=serving"
    status, problem = curl("/readyz")
    assert status == 503 and problem["code"] == "disk_full", problem
    assert model_code("olmoe-demo")[1] != "model_not_found"
    assert "'disk-floor' has changed" in log() and "needs a restart" not in log(), log()

    configure("disk-floor = 1", "state-dir = /elsewhere", "cache-limit = 1G", "hub-offline = yes")
    assert reload(manager, process) == "STATUS=serving; options that need a restart: 1"
    assert "'hub-offline' has changed and needs a restart" in log(), log()
    assert "'state-dir' has changed" not in log(), "the flag wins over the file"
    assert curl("/readyz")[0] == 200 and model_code("olmoe-demo")[1] == "model_not_found"

    # A line that makes no sense: nothing of the file is used.
    configure("disk-floor = 1000000T", "no-such-key = 1")
    told = reload(manager, process)
    assert "no-such-key" in told and "not used" in told, told
    assert "the configuration stays as it was: unknown key 'no-such-key'" in log(), log()
    assert curl("/readyz")[0] == 200
    os.unlink(CONFIG)
    assert "not used" in reload(manager, process)
    assert curl("/readyz")[0] == 200

    configure()
    assert reload(manager, process) == "STATUS=serving"


def submit():
    status, job = curl("/v1/jobs", "-H", "Content-Type: application/json", "-d", json.dumps({
        "model": "olmoe-demo", "dataset": "file:short.txt", "eval": "file:short.txt", "wbits": 4,
        "nsamples": 16, "seqlen": 256}))
    assert status == 202, job
    return job["id"]


def wait_for_job(job_id, condition):
    end = time.monotonic() + SECONDS
    while time.monotonic() < end:
        job = curl(f"/v1/jobs/{job_id}")[1]
        if condition(job):
            return job
        time.sleep(0.05)
    raise AssertionError(f"job {job_id} did not get there: {job}\n{log()}")


def kill(process):
    process.kill()
    process.wait()


def check_watchdog(manager, process):
    """A device that hangs ends the pings; what the manager does then costs one attempt."""
    process.send_signal(signal.SIGTERM)
    assert process.wait(timeout=SECONDS) == 0
    configure(f"model-root = {SOURCE}/data", f"data-root = {HOME}/texts", "disk-floor = 1",
              "hang-seconds = 1")
    watched = {"WATCHDOG_USEC": "200000", "LD_PRELOAD": HANG, "QUANTD_HANG": HOME + "/hang"}
    process = start(manager, **watched)
    try:
        at = manager.wait_for("WATCHDOG=1")
        manager.wait_for("WATCHDOG=1", at + 1)
        with open(HOME + "/hang", "wb"):
            job_id = submit()
        manager.wait_for("STATUS=hangs: device cpu gave no sign of life for ", at)
        at = len(manager.lines)
        time.sleep(1)
        assert manager.lines[at:] == [], manager.lines[at:]
        assert curl("/healthz")[0] == 200, "clients are served while a device hangs"
        kill(process)
        os.unlink(HOME + "/hang")
        process = start(manager, **watched)
        job = wait_for_job(job_id, lambda job: job["status"] == "succeeded")
        assert job["attempt"] == 2, job
        assert "gave its last sign of life" in log(), log()
    except BaseException:
        kill(process)
        raise
    return process


def check_hung_info(manager, process):
    """A driver that does not say how its device is: requests do not wait for it."""
    process.send_signal(signal.SIGTERM)
    assert process.wait(timeout=SECONDS) == 0
    configure(f"model-root = {SOURCE}/data", f"data-root = {HOME}/texts", "disk-floor = 1")
    hung = HOME + "/hang-info"
    process = start(manager, LD_PRELOAD=HANG, QUANTD_HANG_INFO=hung)
    try:
        with open(hung, "wb"):
            first = submit()
        wait_for_job(first, lambda job: os.path.getsize(hung))
        began, slowest, job = time.monotonic(), 0, None
        while time.monotonic() - began < 2:
            for ask in (submit, lambda: curl(f"/v1/jobs/{job}/cancel", "-X", "POST"),
                        lambda: curl("/v1/devices"), lambda: curl("/v1/jobs"),
                        lambda: curl("/metrics", "-o", "/dev/null")):
                at = time.monotonic()
                answer = ask()
                slowest = max(slowest, time.monotonic() - at)
                job = answer if ask is submit else job
        print(f"slowest of these, with the start of curl: {slowest * 1000:.0f} ms")
        assert slowest < 2, slowest
        os.unlink(hung)
        job = wait_for_job(first, lambda job: job["status"] == "succeeded")
        assert job["attempt"] == 1, job
    except BaseException:
        kill(process)
        raise
    return process


def check_stop_of_hung(manager, process):
    """A stop that was asked for costs no attempt, even when the device does not answer."""
    process.send_signal(signal.SIGTERM)
    assert process.wait(timeout=SECONDS) == 0
    hung = {"LD_PRELOAD": HANG, "QUANTD_HANG": HOME + "/hang"}
    process = start(manager, **hung)
    try:
        with open(HOME + "/hang", "wb"):
            job_id = submit()
        wait_for_job(job_id, lambda job: os.path.getsize(HOME + "/hang"))
        began = time.monotonic()
        process.send_signal(signal.SIGTERM)
        assert process.wait(timeout=SECONDS) == 1
        assert time.monotonic() - began < 30, "the service manager would have killed it"
        os.unlink(HOME + "/hang")
        process = start(manager, **hung)
        job = wait_for_job(job_id, lambda job: job["status"] == "succeeded")
        assert job["attempt"] == 1, job
    except BaseException:
        kill(process)
        raise
    return process


def submit_and_cancel(answers):
    """Until no answer comes; what was answered to submissions goes to ANSWERS."""
    try:
        while True:
            connection = UnixConnection(SOCKET, SECONDS)
            try:
                connection.request("POST", "/v1/jobs", EVAL, {"Content-Type": "application/json"})
                answer = connection.getresponse()
                job = json.loads(answer.read())
                answers.append((answer.status, job.get("id")))
                connection.request("POST", f"/v1/jobs/{job['id']}/cancel")
                connection.getresponse().read()
                time.sleep(0.005)
            finally:
                connection.close()
    except (OSError, http.client.HTTPException):
        pass


def check_busy_stop(manager, process):
    """Requests go on until the last moment of a stop: it is an orderly one all the same."""
    process.send_signal(signal.SIGTERM)
    assert process.wait(timeout=SECONDS) == 0
    configure(f"model-root = {SOURCE}/data", f"data-root = {HOME}/texts", "disk-floor = 1")
    process = start(manager)
    for _ in range(5):
        job_id, answers = submit(), []
        wait_for_job(job_id, lambda job: job["status"] == "running")
        clients = [threading.Thread(target=submit_and_cancel, args=(answers,)) for _ in range(3)]
        for client in clients:
            client.start()
        time.sleep(0.05)
        process.send_signal(signal.SIGTERM)
        status = process.wait(timeout=SECONDS)
        for client in clients:
            client.join()
        assert status == 0, f"quantd ended with {status}\n{log()}"
        with sqlite3.connect(HOME + "/state/quantd.db") as store:
            kept = {row[0] for row in store.execute("SELECT id FROM jobs")}
        assert answers and all(status == 202 for status, _ in answers), answers
        assert not {job for _, job in answers} - kept, "acknowledged jobs are lost"
        process = start(manager)
        assert curl(f"/v1/jobs/{job_id}")[1]["attempt"] == 1
        assert curl(f"/v1/jobs/{job_id}/cancel", "-X", "POST")[0] in (202, 409)  # 409: at its end
    return process


def check_reboot(manager, process):
    """kill -9 and another boot of the machine: no attempt is used up."""
    job_id = submit()
    wait_for_job(job_id, lambda job: job["status"] == "running" and job["progress"])
    kill(process)
    with sqlite3.connect(HOME + "/state/quantd.db") as store:
        changed = store.execute("UPDATE jobs SET lease_boot = 'another' WHERE lease_boot IS NOT NULL "
                                "AND status = 'running'")
        assert changed.rowcount == 1
    process = start(manager)
    job = wait_for_job(job_id, lambda job: job["status"] == "succeeded")
    assert job["attempt"] == 1, job
    events = curl(f"/v1/jobs/{job_id}/events", "-H", "Accept: application/json")[1]["data"]
    reasons = [event["data"]["reason"] for event in events if event["type"] == "job.interrupted"]
    assert reasons == ["reboot"], events
    return process


def check_limits():
    """A process that can never work says which limit is too small, and does not hang."""
    for limit, value, name in ((resource.RLIMIT_AS, 100 << 20, "ulimit -v"),
                               (resource.RLIMIT_NOFILE, 20, "ulimit -Hn")):
        done = subprocess.run(
            [QUANTD, "--version"], capture_output=True, timeout=SECONDS, check=False, text=True,
            preexec_fn=lambda which=limit, most=value: resource.setrlimit(which, (most, most)))
        assert done.returncode == 2 and name in done.stderr, (name, done)


def main():
    manager = Manager()
    os.mkdir(HOME + "/texts")
    with open(SOURCE + "/data/texts/demo-calibration.txt", "rb") as f:
        text = f.read(40000)
    with open(HOME + "/texts/short.txt", "wb") as f:
        f.write(text)
    configure("disk-floor = 1")
    process = start(manager)
    try:
        check_reload(manager, process)
        print("ok: SIGHUP takes over what can change, names what cannot, and survives a bad file")
        if HANG:  # nor does a sanitizer start with little address space
            check_limits()
            print("ok: limits that are too small are named")
            process = check_watchdog(manager, process)
            print("ok: a device that hangs ends the pings, and the job goes on in a new process")
            process = check_hung_info(manager, process)
            print("ok: no request waits for a device whose driver does not answer")
            process = check_stop_of_hung(manager, process)
            print("ok: a device that hangs does not keep quantd from stopping in time")
            process = check_reboot(manager, process)
            print("ok: a reboot costs no attempt")
        process = check_busy_stop(manager, process)
        print("ok: a stop in the middle of requests is an orderly one")
        process.send_signal(signal.SIGTERM)
        manager.wait_for("STOPPING=1")
        assert process.wait(timeout=SECONDS) == 0
        print("ok: stopped")
    finally:
        process.kill()
        process.wait()
        shutil.rmtree(HOME, ignore_errors=True)


main()
