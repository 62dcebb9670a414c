#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Another program holds the database: no job fails, and no request gets an answer of status 500.

A foreign connection holds the write lock while a job runs, and another one runs ANALYZE five times
a second. Requests that write are taken or answered with 503, Retry-After and store_busy; requests
that read are answered all the while; the job waits and succeeds, as do those that were taken.

Usage: test_store_busy.py QUANTD SOURCE [SECONDS]
"""
import json
import os
import shutil
import sqlite3
import subprocess
import sys
import tempfile
import threading
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), ".."))

from unix_http import UnixConnection  # noqa: E402

QUANTD, SOURCE = sys.argv[1:3]
SECONDS = float(sys.argv[3]) if len(sys.argv) > 3 else 3
HOME = tempfile.mkdtemp(prefix="quantd-busy-")
STATE, SOCKET = HOME + "/state", HOME + "/socket"
JOB = {"model": "olmoe-demo", "wbits": 4, "groupsize": 128, "act_order": True,
       "dataset": "file:short.txt", "eval": "file:short.txt", "nsamples": 16, "seqlen": 256}
SMALL = {"model": "olmoe-demo", "wbits": 4, "groupsize": 128, "nearest": True, "eval": []}
READ_SECONDS_MAX = 2.0


def ask(method, path, body=None):
    connection = UnixConnection(SOCKET, 60)
    try:
        connection.request(method, path, body and json.dumps(body),
                           {"Content-Type": "application/json"} if body else {})
        answer = connection.getresponse()
        return answer.status, json.loads(answer.read() or b"null"), answer.headers
    finally:
        connection.close()


def job(number):
    return ask("GET", f"/v1/jobs/{number}")[1]


def wait(number, statuses, seconds=120):
    end = time.monotonic() + seconds
    while job(number)["status"] not in statuses:
        assert time.monotonic() < end, f"job {number} does not become {statuses}: {job(number)}"
        time.sleep(0.05)
    return job(number)


def start():
    log = open(HOME + "/log", "ab")
    process = subprocess.Popen(
        [QUANTD, "--state-dir", STATE, "--cache-dir", HOME + "/cache", "--listen",
         "unix:" + SOCKET, "--device", "cpu", "--model-root", SOURCE + "/data", "--data-root",
         HOME + "/texts", "--hub-offline", "yes", "--disk-floor", "0"], stderr=log,
        env=dict(os.environ, OPENBLAS_NUM_THREADS="1"))
    end = time.monotonic() + 30
    while time.monotonic() < end:
        try:
            if ask("GET", "/healthz")[0] == 200:
                return process
        except OSError:
            time.sleep(0.02)
    raise AssertionError("quantd does not answer")


def hold_lock(taken):
    database = sqlite3.connect(STATE + "/quantd.db", timeout=30, isolation_level=None)
    database.execute("BEGIN IMMEDIATE")
    taken.set()
    time.sleep(SECONDS)
    database.execute("ROLLBACK")
    database.close()


def analyze(_):
    database = sqlite3.connect(STATE + "/quantd.db", timeout=30, isolation_level=None)
    end = time.monotonic() + SECONDS
    while time.monotonic() < end:
        database.execute("ANALYZE")
        time.sleep(0.2)
    database.close()


def check_submission(status, body, headers, ids):
    if status == 202:
        ids.append(body["id"])
        return
    assert status == 503 and body["code"] == "store_busy", f"{status} {body}"
    assert int(headers["Retry-After"]) > 0 and body["retryable"] and body["hint"], body


def disturb(what):
    """A job runs and others are submitted while @what goes on."""
    first = ask("POST", "/v1/jobs", JOB)[1]["id"]
    ids, longest = [first], 0
    wait(first, ["running"])
    taken = threading.Event()
    other = threading.Thread(target=what, args=[taken])
    other.start()
    if what is hold_lock:
        assert taken.wait(30)
    while other.is_alive():
        check_submission(*ask("POST", "/v1/jobs", SMALL), ids)
        began = time.monotonic()
        assert ask("GET", f"/v1/jobs/{first}")[0] == 200
        assert ask("GET", "/v1/jobs?text=other&limit=3")[0] == 200
        longest = max(longest, time.monotonic() - began)
        time.sleep(0.1)
    other.join()
    for number in ids:
        ended = wait(number, ["succeeded", "failed", "cancelled"])
        assert ended["status"] == "succeeded" and ended["attempt"] == 1, ended
    assert longest < READ_SECONDS_MAX, f"two reads took {longest:.2f} s"
    print(f"{what.__name__}: {len(ids)} jobs succeeded, two reads took {longest:.3f} s at most")


def main():
    os.makedirs(HOME + "/texts")
    shutil.copy(SOURCE + "/data/texts/demo-evaluation.txt", HOME + "/texts/short.txt")
    process = start()
    try:
        disturb(hold_lock)
        disturb(analyze)
    except BaseException:
        with open(HOME + "/log", encoding="utf-8", errors="replace") as log:
            print(log.read()[-3000:])
        raise
    finally:
        process.terminate()
        assert process.wait(60) == 0
        shutil.rmtree(HOME)


main()
