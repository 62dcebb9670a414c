#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""A backup as the owner of a box makes it, and what comes of it when it is needed.

It is taken while a job runs, jobs are submitted and read; then the database is lost, and
the daemon goes on with the copy.

Usage: test_backup.py QUANTD QUANTCTL SOURCE [MEGABYTES]: how much to put into the database before.
"""
import functools
import json
import os
import shutil
import signal
import sqlite3
import stat
import subprocess
import sys
import tempfile
import threading
import time

import place

from unix_http import UnixConnection

QUANTD, QUANTCTL, SOURCE = sys.argv[1:4]
MEGABYTES = int(sys.argv[4]) if len(sys.argv) > 4 else 16
HOME = tempfile.mkdtemp(prefix="quantd-backup-")
STATE, SOCKET = HOME + "/state", HOME + "/quantd.sock"
DATABASE = STATE + "/quantd.db"
start = functools.partial(place.start, QUANTD, SOURCE, HOME)
JOB = {"model": "olmoe-demo", "dataset": "file:short.txt", "eval": "file:short.txt", "wbits": 4,
       "groupsize": 128, "nsamples": 64, "seqlen": 256}


def ask(method, path, body=None, connection=None):
    own = connection or UnixConnection(SOCKET)
    own.request(method, path, body and json.dumps(body),
                {"Content-Type": "application/json"} if body else {})
    answer = own.getresponse()
    data = answer.read()
    if not connection:
        own.close()
    return answer.status, json.loads(data or b"null")


def submit(request):
    status, job = ask("POST", "/v1/jobs", request)
    assert status == 202, job
    return job["id"]


def wait_for(job_id, *statuses):
    for _ in range(6000):
        job = ask("GET", f"/v1/jobs/{job_id}")[1]
        if job["status"] in statuses:
            return job
        time.sleep(0.02)
    raise AssertionError(job)


def quantctl(*arguments):
    return subprocess.run([QUANTCTL, "--server", "unix:" + SOCKET, *arguments],
                          capture_output=True, text=True, timeout=300, check=False)


def fatten(job_id, megabytes):
    """Rows as progress leaves them, so that a backup takes a while."""
    with sqlite3.connect(DATABASE) as connection:
        connection.executemany(
            "INSERT INTO events (job_id, type, at, data) VALUES (?, 'job.warning', 1, ?)",
            ((job_id, json.dumps({"text": "x" * 1000})) for _ in range(megabytes * 1000)))


class Crowd:
    """Looks and submits all the while; how long each look took."""

    def __init__(self):
        self.seconds, self.submitted, self.done = [], [], False
        self.threads = [threading.Thread(target=work) for work in (self.look, self.submit)]
        for thread in self.threads:
            thread.start()

    def look(self):
        connection = UnixConnection(SOCKET)
        while not self.done:
            began = time.monotonic()
            assert ask("GET", "/v1/jobs/1", connection=connection)[0] == 200
            self.seconds.append(time.monotonic() - began)
            time.sleep(0.001)

    def submit(self):
        while not self.done:
            self.submitted.append(submit({"kind": "eval", "model": "olmoe-demo", "priority": -1,
                                          "eval": "file:short.txt", "seqlen": 64}))
            time.sleep(0.05)

    def report(self):
        """Of the GETs since the last one."""
        seconds, self.seconds = sorted(self.seconds), []
        return (f"{len(seconds)} GETs, the median in {seconds[len(seconds) // 2] * 1e3:.2f} ms, "
                f"p99 in {seconds[int(len(seconds) * 0.99)] * 1e3:.2f} ms, the slowest in "
                f"{seconds[-1] * 1e3:.1f} ms")

    def end(self):
        self.done = True
        for thread in self.threads:
            thread.join()


def check_backup(running):
    """With a file, into a folder, without; no file is replaced."""
    file, folder = HOME + "/saved.db", HOME + "/folder"
    crowd = Crowd()
    time.sleep(2)
    print("before: " + crowd.report())
    began = time.monotonic()
    done = quantctl("admin", "backup", file)
    took = time.monotonic() - began
    crowd.end()
    assert done.returncode == 0 and file in done.stdout, done
    assert stat.S_IMODE(os.stat(file).st_mode) == 0o600 and os.stat(file).st_size > MEGABYTES << 20
    assert max(crowd.seconds) < 10, max(crowd.seconds)  # the machine may be busy
    print(f"during: {crowd.report()}, and {len(crowd.submitted)} submissions\n"
          f"ok: a backup of {os.stat(file).st_size >> 20} MB in {took:.2f} s")
    assert not os.path.exists(file + ".part")

    done = quantctl("admin", "backup", file)
    assert done.returncode == 5 and "the file exists" in done.stderr, done
    done = quantctl("admin", "backup", HOME + "/nowhere/x")
    assert done.returncode == 5 and "nowhere" in done.stderr, done
    assert quantctl("admin", "nonsense").returncode == 2
    os.mkdir(folder)
    done = quantctl("--json", "admin", "backup", folder)
    told = json.loads(done.stdout)
    assert done.returncode == 0 and os.listdir(folder) == [told["name"]], (done, told)
    done = quantctl("admin", "backup")
    assert done.returncode == 0 and STATE + "/backups/quantd-" in done.stdout, done
    assert len(os.listdir(STATE + "/backups")) == 3
    assert ask("GET", f"/v1/jobs/{running}")[1]["status"] == "running"
    for job_id in crowd.submitted:
        ask("POST", f"/v1/jobs/{job_id}/cancel")
    return file, crowd.submitted


def check_restore(process, file, ended, running, submitted):
    """Stop, copy, start: the way of quantd(8)."""
    files = ask("GET", f"/v1/jobs/{ended}/artifacts")[1]["data"]
    process.send_signal(signal.SIGKILL)
    process.wait()
    for name in (DATABASE, DATABASE + "-wal", DATABASE + "-shm"):
        if os.path.exists(name):
            os.unlink(name)
    shutil.copy(file, DATABASE)
    process = start()
    job = ask("GET", f"/v1/jobs/{ended}")[1]
    assert job["status"] == "succeeded" and job["result"]["perplexity"], job
    assert ask("GET", f"/v1/jobs/{ended}/artifacts")[1]["data"] == files
    job = wait_for(running, "succeeded", "failed")
    assert job["status"] == "succeeded" and job["attempt"] == 2, job
    assert len(ask("GET", f"/v1/jobs/{running}/layers")[1]["data"]) == 3
    known = {job["id"] for job in ask("GET", "/v1/jobs?limit=500")[1]["data"]}
    kept = [job_id for job_id in submitted if job_id in known]
    assert kept == submitted[:len(kept)], (kept, submitted)
    again = submit(JOB)
    assert again == max(known) + 1
    assert wait_for(again, "succeeded", "failed")["status"] == "succeeded"
    print(f"ok: restored, with {len(kept)} of {len(submitted)} jobs that came in meanwhile, and "
          "the running job went on")
    return process


def main():
    place.write_text(SOURCE, HOME, 60000)
    process = start()
    ended = submit(JOB)
    assert wait_for(ended, "succeeded", "failed")["status"] == "succeeded"
    process.terminate()
    assert process.wait(timeout=60) == 0
    fatten(ended, MEGABYTES)
    process = start()
    try:
        running = submit({**JOB, "nsamples": 512})
        wait_for(running, "running")
        file, submitted = check_backup(running)
        process = check_restore(process, file, ended, running, submitted)
    finally:
        process.kill()
        process.wait()


try:
    main()
finally:
    shutil.rmtree(HOME, ignore_errors=True)
