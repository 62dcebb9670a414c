#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""A disk that runs full while a job runs: the job waits, says why, and goes on to the same bytes.

The state folder is a small tmpfs in a mount namespace of this test's own. It is filled until less
than the floor is left, and, without a floor, until writes find no room. With no block left, the
queue still takes jobs. Skipped where no file system can be mounted.

Usage: test_disk.py QUANTD SOURCE
"""
import contextlib
import errno
import hashlib
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), ".."))

from unix_http import UnixConnection  # noqa: E402

QUANTD, SOURCE = sys.argv[1:3]
SIZE, FLOOR = 48 << 20, 8 << 20
JOB = {"model": "olmoe-demo", "dataset": "file:short.txt", "eval": "file:short.txt", "wbits": 4,
       "groupsize": 128, "act_order": True, "nsamples": 16, "seqlen": 256}
EVAL = {"kind": "eval", "model": "olmoe-demo", "eval": "file:short.txt", "seqlen": 256}


def enter_namespace():
    """Goes on in a mount namespace, where a mount ends with the process."""
    if os.environ.get("QUANTD_TEST_DISK"):
        return
    unshare = ["unshare", "--mount"] + ([] if os.geteuid() == 0 else ["--map-root-user"])
    probe = unshare + ["mount", "-t", "tmpfs", "none", tempfile.gettempdir()]
    if not shutil.which("unshare") or subprocess.run(probe, capture_output=True).returncode:
        print("skipped: no file system can be mounted here")
        sys.exit(77)
    os.environ["QUANTD_TEST_DISK"] = "1"
    os.execvp(unshare[0], unshare + [sys.executable, *sys.argv])


def ask(method, path, body=None):
    connection = UnixConnection(HOME + "/quantd.sock")
    try:
        connection.request(method, path, body and json.dumps(body),
                           {"Content-Type": "application/json"} if body else {})
        answer = connection.getresponse()
        data = answer.read()
        return answer.status, data if "/artifacts/" in path else json.loads(data or b"null")
    finally:
        connection.close()


class Daemon:
    running = None

    def __init__(self, floor):
        self.log = open(HOME + "/log", "wb")
        self.process = subprocess.Popen(
            [QUANTD, "--state-dir", STATE, "--cache-dir", HOME + "/cache", "--listen",
             "unix:" + HOME + "/quantd.sock", "--device", "cpu", "--model-root", SOURCE + "/data",
             "--data-root", HOME + "/texts", "--disk-floor", str(floor)],
            stderr=self.log, env={**os.environ, "HF_HUB_OFFLINE": "1"})
        Daemon.running = self.process
        for _ in range(4000):
            try:
                ask("GET", "/healthz")
                return
            except OSError:
                time.sleep(0.05)
        raise AssertionError(log_text())

    def stop(self):
        self.process.send_signal(signal.SIGTERM)
        assert self.process.wait(timeout=60) == 0, log_text()


def log_text():
    with open(HOME + "/log", encoding="utf-8", errors="replace") as log:
        return log.read()


def fill(left):
    """Writes into the state folder until about @left bytes are free; the name of the file."""
    path = STATE + "/filler"
    while True:
        room = os.statvfs(STATE)
        try:
            with open(path, "wb") as file:
                os.posix_fallocate(file.fileno(), 0, max(room.f_bavail * room.f_frsize - left, 1))
            return path
        except OSError as error:  # the job wrote a layer meanwhile
            if error.errno != errno.ENOSPC:
                raise
            os.unlink(path)


def submit(request):
    status, job = ask("POST", "/v1/jobs", request)
    assert status == 202, job
    return job["id"]


def wait_for(job_id, condition, seconds=250):
    end = time.time() + seconds
    while time.time() < end:
        job = ask("GET", f"/v1/jobs/{job_id}")[1]
        if condition(job):
            return job
        assert job["status"] not in ("failed", "cancelled"), job["error"]
        time.sleep(0.02)
    raise AssertionError(f"job {job_id} did not get there: {job}\n{log_text()}")


def succeeded(job_id):
    return wait_for(job_id, lambda job: job["status"] == "succeeded")


def wait_for_log(text, seconds=100):
    """What is logged of a transaction is written after it, so a client may be there first."""
    end = time.time() + seconds
    while text not in log_text():
        assert time.time() < end, f"no '{text}' in the log:\n{log_text()}"
        time.sleep(0.02)


def events(job_id):
    return ask("GET", f"/v1/jobs/{job_id}/events?limit=500")[1]["data"]


def hashes(job_id):
    files = ask("GET", f"/v1/jobs/{job_id}/artifacts")[1]["data"]
    return {file["name"]: hashlib.sha256(ask("GET", file["url"])[1]).hexdigest() for file in files}


def check_pause(job, *reasons):
    assert job["status"] == "queued" and job["attempt"] == 1 and job["queue_position"] == 1, job
    assert job["paused"]["code"] == "disk_full", job
    assert any(reason in job["paused"]["detail"] for reason in reasons), job
    assert job["paused"]["hint"] and job["paused"]["since"] >= job["created_at"], job
    assert not job["progress"] or job["progress"]["eta_seconds"] is None, job
    told = [event for event in events(job["id"]) if event["type"] == "job.paused"]
    assert told and told[-1]["data"]["code"] == "disk_full", told
    status, problem = ask("GET", "/readyz")
    assert status == 503 and problem["code"] == "disk_full", problem
    assert ask("GET", "/healthz")[0] == 200
    wait_for_log(f"job {job['id']} paused")


def check_end(job_id, undisturbed):
    job = succeeded(job_id)
    assert job["attempt"] == 1 and job["paused"] is None and job["paused_seconds"] > 0, job
    assert hashes(job_id) == undisturbed, "the bytes differ after a pause"
    kinds = [event["type"] for event in events(job_id)]
    assert kinds.count("job.started") == kinds.count("job.paused") + 1, kinds
    assert not os.path.exists(f"{STATE}/jobs/{job_id}/work")
    return job, kinds


def check_floor(undisturbed):
    """Below the floor after the first layer; an evaluation goes on meanwhile."""
    daemon = Daemon(FLOOR)
    job_id = submit({**JOB, "nsamples": 128})
    wait_for(job_id, lambda job: job["status"] == "running")
    filler = fill(FLOOR - (1 << 20))
    job = wait_for(job_id, lambda job: job["paused"])
    check_pause(job, "less than")
    layers = len(ask("GET", f"/v1/jobs/{job_id}/layers")[1]["data"])
    assert layers in (1, 2, 3), layers  # the machine may be busy
    succeeded(submit(EVAL))
    job = ask("GET", f"/v1/jobs/{job_id}")[1]
    assert job["paused"], job
    os.unlink(filler)
    _, kinds = check_end(job_id, undisturbed)
    assert kinds.count("layer.finished") == 3 and kinds.count("job.resumed") == 1, kinds
    assert ask("GET", "/readyz")[0] == 200
    assert ask("DELETE", f"/v1/jobs/{job_id}")[0] == 204
    daemon.stop()


def check_no_room(undisturbed):
    """No floor, and writes that find no room; also over kill -9 while it waits."""
    daemon = Daemon(0)
    job_id = submit({**JOB, "nsamples": 128})
    wait_for(job_id, lambda job: job["status"] == "running")
    filler = fill(1 << 20)  # for the database, not for a layer
    job = wait_for(job_id, lambda job: job["paused"])
    # A commit of the database may be the first that finds none.
    check_pause(job, "No space left on device", "disk is full")
    tries = log_text().count("started on cpu")
    assert tries <= 10, log_text()  # not round and round
    daemon.process.kill()
    daemon.process.wait()
    daemon = Daemon(0)
    os.unlink(filler)
    check_end(job_id, undisturbed)
    daemon.stop()


def occupy():
    """Takes what is left on the disk, to the last block."""
    path = fill(0)
    with open(path, "ab") as file, contextlib.suppress(OSError):
        while True:
            os.write(file.fileno(), bytes(4096))
    return path


def check_journal():
    """Jobs are taken and cancelled while the disk has not one block left, also over kill -9."""
    daemon = Daemon(FLOOR)
    filler = occupy()
    jobs = [submit(JOB) for _ in range(40)]
    for job in jobs[::2]:
        status, problem = ask("POST", f"/v1/jobs/{job}/cancel")
        assert status == 202, problem
    daemon.process.kill()
    daemon.process.wait()
    daemon = Daemon(FLOOR)
    jobs.append(submit(JOB))
    states = [ask("GET", f"/v1/jobs/{job}")[1]["status"] for job in jobs]
    assert states == ["cancelled", "queued"] * 20 + ["queued"], states
    os.unlink(filler)
    for job in jobs[1::2] + jobs[-1:]:
        assert ask("POST", f"/v1/jobs/{job}/cancel")[0] == 202
    daemon.stop()


def main():
    os.makedirs(STATE)
    os.makedirs(HOME + "/texts")
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={SIZE}", "none", STATE], check=True)
    with open(SOURCE + "/data/texts/demo-calibration.txt", "rb") as file:
        text = file.read(60000)
    with open(HOME + "/texts/short.txt", "wb") as file:
        file.write(text[:text.rindex(b"\n")])
    daemon = Daemon(0)
    first = submit({**JOB, "nsamples": 128})
    succeeded(first)
    undisturbed = hashes(first)
    assert "model.safetensors.index.json" in undisturbed
    assert ask("DELETE", f"/v1/jobs/{first}")[0] == 204
    daemon.stop()
    check_floor(undisturbed)
    print("ok: below the floor a job waits after its layer, and ends in the same bytes")
    check_no_room(undisturbed)
    print("ok: a write that finds no room pauses the job, and it ends in the same bytes")
    check_journal()
    print("ok: the queue takes jobs while the disk is full")


enter_namespace()
HOME = tempfile.mkdtemp(prefix="quantd-disk-")
STATE = HOME + "/state"
try:
    main()
finally:
    if Daemon.running and Daemon.running.poll() is None:
        Daemon.running.kill()
        Daemon.running.wait()
    subprocess.run(["umount", "-l", STATE], capture_output=True, check=False)
    shutil.rmtree(HOME, ignore_errors=True)
