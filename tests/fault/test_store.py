#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""quantd while calls that write to its state folder fail.

One call fails, or all from one on, while the daemon starts, takes jobs and begins to run them.
It may refuse to start, and it may refuse a job with a message; it may not crash, and each job that it
took is there after a restart, in a database that is sound.

Usage: test_store.py QUANTD FAULT_LIBRARY SOURCE
"""
import http.client
import json
import os
import shutil
import sqlite3
import subprocess
import sys
import tempfile
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), ".."))

from unix_http import UnixConnection  # noqa: E402

QUANTD, FAULT, SOURCE = sys.argv[1:4]
HOME = tempfile.mkdtemp(prefix="quantd-fault-")
STATE, SOCKET = HOME + "/state", HOME + "/socket"
JOB = {"model": "olmoe-demo", "wbits": 4, "groupsize": 128, "nearest": True, "dataset": None,
       "eval": "file:short.txt", "seqlen": 64}
JOBS = 3
KINDS = ("ENOSPC", "EIO", "SHORT")
CALLS = range(1, 140, 2)


def ask(method, path, body=None):
    """Status and JSON; 0 without an answer."""
    connection = UnixConnection(SOCKET, 20)
    try:
        connection.request(method, path, body and json.dumps(body),
                           {"Content-Type": "application/json"} if body else {})
        answer = connection.getresponse()
        return answer.status, json.loads(answer.read() or b"null")
    except (OSError, http.client.HTTPException):
        return 0, None
    finally:
        connection.close()


def start(fault):
    environment = dict(os.environ, OPENBLAS_NUM_THREADS="1")
    if fault:
        environment.update(LD_PRELOAD=FAULT, QUANTD_FAULT=fault, QUANTD_FAULT_BELOW=STATE)
    if os.path.exists(SOCKET):
        os.unlink(SOCKET)
    with open(HOME + "/log", "wb") as log:
        process = subprocess.Popen(
            [QUANTD, "--state-dir", STATE, "--cache-dir", HOME + "/cache", "--listen",
             "unix:" + SOCKET, "--device", "cpu", "--model-root", SOURCE + "/data",
             "--data-root", HOME + "/texts"], stderr=log, env=environment)
    while process.poll() is None and ask("GET", "/v1/jobs?limit=1")[0] == 0:
        time.sleep(0.01)
    return process


def log_text():
    with open(HOME + "/log", encoding="utf-8", errors="replace") as log:
        return log.read()


def submit_jobs(when):
    """The ids of the jobs that were taken."""
    taken = []
    for _ in range(JOBS):
        status, body = ask("POST", "/v1/jobs", JOB)
        assert status, f"{when}: no answer to a job\n{log_text()}"
        if status in (200, 201, 202):
            taken.append(body["id"])
        else:
            assert status >= 500 and body["code"] and body["detail"], f"{when}: {status} {body}"
    return taken


def attempt(fault):
    """Return: "start" when the daemon refused to start, else how many jobs it took."""
    shutil.rmtree(STATE, ignore_errors=True)
    os.mkdir(STATE)
    process, taken = start(fault), []
    refused = process.poll() is not None
    if refused:
        assert process.returncode > 0 and log_text().strip(), f"{fault}: {process.returncode}"
    else:
        taken = submit_jobs(fault)
        time.sleep(0.1)
        assert process.poll() is None, f"{fault}: quantd died: {process.poll()}\n{log_text()}"
        process.kill()
        process.wait()
    check_restart(fault, taken)
    return "start" if refused else len(taken)


def check_restart(fault, taken):
    process = start(None)
    assert process.poll() is None, f"{fault}: no restart\n{log_text()}"
    status, body = ask("GET", "/v1/jobs?limit=100")
    process.kill()
    process.wait()
    found = {job["id"] for job in body["data"]}
    assert status == 200 and set(taken) <= found, f"{fault}: took {taken}, has {found}"
    (database,) = [name for name in os.listdir(STATE) if name.endswith((".db", ".sqlite"))]
    with sqlite3.connect(os.path.join(STATE, database)) as connection:
        (verdict,) = connection.execute("PRAGMA integrity_check").fetchone()
    assert verdict == "ok", f"{fault}: {verdict}"


def main():
    os.mkdir(HOME + "/texts")
    with open(SOURCE + "/data/texts/demo-evaluation.txt", encoding="utf-8") as text:
        short = text.read(2000)
    with open(HOME + "/texts/short.txt", "w", encoding="utf-8") as file:
        file.write(short)
    results = {}
    for i, n in enumerate(CALLS):
        fault = f"{n}{'+' if i % 4 == 3 else ''}:{KINDS[i % len(KINDS)]}"
        result = attempt(fault)
        results.setdefault(result, []).append(fault)
    for result, faults in results.items():
        what = "did not start" if result == "start" else f"took {result} of {JOBS} jobs"
        print(f"{what}: {' '.join(faults)}")


try:
    main()
finally:
    shutil.rmtree(HOME, ignore_errors=True)
