#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""A job that the disk can never hold is passed by: smaller ones behind it run.

The state folder is a tmpfs of 12 MB. Skipped where none can be mounted.

Usage: test_passed_by.py QUANTD QUANTD-MAKE-CHECKPOINT SOURCE
"""
import http.client
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time

QUANTD, MAKE, SOURCE = sys.argv[1:4]
sys.path.insert(0, SOURCE + "/tests")
from unix_http import UnixConnection  # noqa: E402

HOME = tempfile.mkdtemp(prefix="quantd-passed-")
SECONDS = 60
GEOMETRY = ["--hidden", "64", "--intermediate", "64", "--experts", "4", "--layers", "2"]


def ask(method, path, body=None):
    connection = UnixConnection(HOME + "/quantd.sock")
    connection.request(method, path, json.dumps(body) if body else None,
                       {"Content-Type": "application/json"})
    answer = connection.getresponse()
    return answer.status, json.loads(answer.read())


def make(name, vocab):
    subprocess.run([MAKE, *GEOMETRY, "--vocab", str(vocab), f"{HOME}/models/{name}"], check=True,
                   capture_output=True)


def submit(model):
    status, job = ask("POST", "/v1/jobs", {"model": model, "wbits": 4, "method": "rtn",
                                           "groupsize": 32, "eval": []})
    assert status == 202, job
    return job["id"]


def start(unshare):
    command = [*unshare, "sh", "-c", 'mount -t tmpfs -o size=12m none "$0" && exec "$@"',
               HOME + "/state", QUANTD, "--state-dir", HOME + "/state", "--cache-dir",
               HOME + "/cache", "--listen", f"unix:{HOME}/quantd.sock", "--device", "cpu",
               "--disk-floor", "0", "--model-root", HOME + "/models"]
    process = subprocess.Popen(command, env={**os.environ, "HF_HUB_OFFLINE": "1"})
    for _ in range(200):
        try:
            if ask("GET", "/healthz")[0] == 200:
                return process
        except (OSError, http.client.HTTPException):
            pass
        time.sleep(0.05)
    process.kill()
    raise AssertionError("quantd does not answer")


def main():
    unshare = ["unshare", "--mount"] + ([] if os.geteuid() == 0 else ["--map-root-user"])
    probe = [*unshare, "mount", "-t", "tmpfs", "none", HOME]
    if not shutil.which("unshare") or subprocess.run(probe, capture_output=True).returncode:
        print("skipped: no file system can be mounted here")
        return 77
    os.makedirs(HOME + "/state")
    os.makedirs(HOME + "/models")
    make("large", 65536)
    make("small", 512)
    process = start(unshare)
    try:
        large = submit("large")
        small = [submit("small") for _ in range(4)]
        end, states = time.time() + SECONDS, None
        while states != ["succeeded"] * 4 and time.time() < end:
            time.sleep(0.2)
            states = [ask("GET", f"/v1/jobs/{job}")[1]["status"] for job in small]
        assert states == ["succeeded"] * 4, states
        job = ask("GET", f"/v1/jobs/{large}")[1]
        assert job["status"] in ("queued", "running") and job["attempt"] == 1, job
        if job["status"] == "queued":
            assert job["paused"]["code"] == "disk_full", job["paused"]
        print("ok: four small jobs went by one that does not fit")
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait()
    return 0


try:
    STATUS = main()
finally:
    shutil.rmtree(HOME, ignore_errors=True)
sys.exit(STATUS)
