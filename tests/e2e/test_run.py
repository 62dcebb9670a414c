#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""quantd-run: a job folder without the daemon, to the same bytes.

Usage: test_run.py QUANTD QUANTD-RUN SOURCE. Prints what it does; exits with 0 when all passed.
"""
import hashlib
import http.client
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time

QUANTD, QUANTD_RUN, SOURCE = sys.argv[1:4]
sys.path.insert(0, SOURCE + "/tests")
from unix_http import UnixConnection  # noqa: E402

HOME = tempfile.mkdtemp(prefix="quantd-run-")
SOCKET = HOME + "/quantd.sock"
REQUEST = {"model": "olmoe-demo", "dataset": "file:short.txt", "eval": ["file:short.txt"],
           "wbits": 4, "groupsize": 128, "act_order": True, "nsamples": 16, "seqlen": 256}
PROGRESS = ("progress", "eval.progress")


def ask(method, path, body=None):
    connection = UnixConnection(SOCKET)
    connection.request(method, path, json.dumps(body) if body else None,
                       {"Content-Type": "application/json"})
    answer = connection.getresponse()
    return answer.status, json.loads(answer.read())


def run_daemon():
    """The job by quantd: its checkpoint, the version of quantd, the types of its events."""
    process = subprocess.Popen(
        [QUANTD, "--state-dir", HOME + "/state", "--cache-dir", HOME + "/cache", "--listen",
         "unix:" + SOCKET, "--device", "cpu", "--model-root", SOURCE + "/data", "--data-root",
         HOME + "/texts", "--log-level", "warning"], env={**os.environ, "HF_HUB_OFFLINE": "1"})
    try:
        for _ in range(200):
            try:
                version = ask("GET", "/v1/status")[1]["version"]
                break
            except (OSError, http.client.HTTPException):
                time.sleep(0.05)
        status, job = ask("POST", "/v1/jobs", REQUEST)
        assert status == 202, job
        while job["status"] in ("queued", "running"):
            time.sleep(0.1)
            job = ask("GET", f"/v1/jobs/{job['id']}")[1]
        assert job["status"] == "succeeded", job["error"]
        events = ask("GET", f"/v1/jobs/{job['id']}/events?limit=500")[1]["data"]
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait()
    return f"{HOME}/state/jobs/{job['id']}/artifact", version, [e["type"] for e in events]


def make_folder(name, **changes):
    folder = f"{HOME}/{name}"
    os.makedirs(folder)
    job = {"format": 1, "version": VERSION, "id": 7, "kind": "quantize", "request": REQUEST,
           "model_dir": SOURCE + "/data/olmoe-demo", "files": {}, "data_roots": [HOME + "/texts"],
           "device": "cpu", **changes}
    with open(folder + "/job.json", "w", encoding="utf-8") as file:
        json.dump({key: value for key, value in job.items() if value is not None}, file)
    return folder


def start(folder, *nonce):
    return subprocess.Popen([QUANTD_RUN, folder, *nonce], stdout=subprocess.PIPE,
                            stderr=subprocess.PIPE)


def finish(process, status):
    out, err = process.communicate(timeout=250)
    assert process.returncode == status, (process.returncode, err.decode())
    return out, err.decode()


def lines(data):
    """All whole lines."""
    return [json.loads(line) for line in data[:data.rfind(b"\n") + 1].splitlines()]


def run_events(folder, nonce):
    with open(f"{folder}/events.{nonce}", "rb") as file:
        return lines(file.read())


def wait_for_event(folder, nonce, kind, n=1):
    for _ in range(2500):
        if os.path.exists(f"{folder}/events.{nonce}"):
            if sum(e["kind"] == kind for e in run_events(folder, nonce)) >= n:
                return
        time.sleep(0.02)
    raise AssertionError(f"no {kind} in {folder}")


def hashes(folder):
    found = {}
    for name in sorted(os.listdir(folder)):
        with open(f"{folder}/{name}", "rb") as file:
            found[name] = hashlib.sha256(file.read()).hexdigest()
    return found


def kinds(some):
    return [e["kind"] for e in some if e["kind"] not in PROGRESS]


def test_same_bytes():
    folder = make_folder("whole")
    out, _ = finish(start(folder), 0)
    said = lines(out)
    assert hashes(folder + "/artifact") == WANTED
    assert said[0]["kind"] == "run.started" and said[0]["data"]["device"]["kind"] == "cpu", said[0]
    assert said[-1]["kind"] == "run.ended" and said[-1]["data"]["how"] == "succeeded", said[-1]
    assert said[-1]["data"]["result"]["perplexity"]["file:short.txt"]["value"] > 1
    ours = [kind for kind in kinds(said)[1:-1] if kind != "facts"]
    theirs = [kind for kind in TYPES if kind not in PROGRESS and not kind.startswith("job")]
    assert ours == theirs, (ours, theirs)
    # It is done: a second run finds that.
    out, _ = finish(start(folder, "again"), 0)
    assert kinds(run_events(folder, "again")) == ["run.started", "run.ended"], out


def test_resumption():
    """Killed, then stopped by each signal: always on from there, to the same bytes."""
    folder = make_folder("resumed")
    process = start(folder, "a1")
    wait_for_event(folder, "a1", "layer.finished")
    _, err = finish(start(folder, "other"), 76)
    assert "another run works" in err, err
    process.kill()
    finish(process, -signal.SIGKILL)
    for n, number in enumerate((signal.SIGTERM, signal.SIGUSR1, signal.SIGINT)):
        nonce = f"b{n}"
        process = start(folder, nonce)
        wait_for_event(folder, nonce, "job.resumed")
        process.send_signal(number)
        finish(process, 75)
        assert run_events(folder, nonce)[-1]["data"]["how"] == "stopped", run_events(folder, nonce)[-1]
    finish(start(folder, "c"), 0)
    said = kinds(run_events(folder, "c"))
    assert "layer.found" in said and "job.resumed" in said, said
    assert hashes(folder + "/artifact") == WANTED
    _, err = finish(start(folder, "c"), 76)
    assert "was begun before" in err and os.path.exists(folder + "/again.c"), err


def set_fence(folder, nonce):
    with open(folder + "/run.new", "w", encoding="ascii") as file:
        file.write(nonce)
    os.rename(folder + "/run.new", folder + "/run")


def test_fence():
    """Only the run whose nonce is in the folder works there; another one ends, or never begins."""
    folder = make_folder("fenced")
    set_fence(folder, "first")
    _, err = finish(start(folder, "late"), 76)
    assert "another run's" in err and not os.path.exists(folder + "/events.late"), err
    first = start(folder, "first")
    wait_for_event(folder, "first", "layer.finished")
    # The second one begins while the first one works: it waits for its end.
    set_fence(folder, "second")
    second = start(folder, "second")
    finish(first, 76)
    assert run_events(folder, "first")[-1]["data"]["how"] == "stopped"
    finish(second, 0)
    assert hashes(folder + "/artifact") == WANTED
    # The folder of a job that was deleted has no fence any more.
    folder = make_folder("deleted")
    set_fence(folder, "only")
    only = start(folder, "only")
    wait_for_event(folder, "only", "layer.finished")
    os.unlink(folder + "/run")
    finish(only, 76)


def test_refusals():
    for change, status, what in (({"format": 2}, 77, "format 2"),
                                 ({"version": "0.0.1"}, 77, "quantd 0.0.1"),
                                 ({"version": None}, 77, "version"),
                                 ({"files": None}, 2, "'files'"),
                                 ({"files": {"a/b": "relative"}}, 2, "absolute"),
                                 ({"data_roots": ["x"]}, 2, "absolute"),
                                 ({"model_dir": "x"}, 2, "model_dir"),
                                 ({"model_root": "x"}, 2, "model_root"),
                                 ({"device": None}, 2, "device"),
                                 ({"kind": "other"}, 2, "kind"),
                                 ({"id": 0}, 2, "id"),
                                 ({"request": {"wbits": 5}}, 2, "wbits")):
        folder = make_folder("refused", **change)
        out, err = finish(start(folder), status)
        assert not out and what in err, (change, out, err)
        shutil.rmtree(folder)
    for arguments in ([], ["--x"], [HOME, "a/b"], [HOME, ""], [HOME, "a", "b"]):
        done = subprocess.run([QUANTD_RUN, *arguments], capture_output=True, check=False)
        assert done.returncode == 2 and b"usage" in done.stderr, arguments
    finish(start(HOME + "/nowhere"), 2)


def test_failure():
    folder = make_folder("failing", request={**REQUEST, "dataset": "wikitext2"})
    out, _ = finish(start(folder), 1)
    end = lines(out)[-1]
    assert end["kind"] == "run.ended" and end["data"]["how"] == "failed", end
    assert end["data"]["error"]["code"] == "dataset_not_found", end
    assert not os.path.exists(folder + "/artifact")


try:
    os.makedirs(HOME + "/texts")
    with open(SOURCE + "/data/texts/demo-calibration.txt", "rb") as whole, \
            open(HOME + "/texts/short.txt", "wb") as short:
        short.write(whole.read(60000))
    ARTIFACT, VERSION, TYPES = run_daemon()
    WANTED = hashes(ARTIFACT)
    for test in (test_same_bytes, test_resumption, test_fence, test_refusals, test_failure):
        test()
        print("ok:", test.__name__.replace("test_", "").replace("_", " "))
finally:
    shutil.rmtree(HOME)
