#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Hidden states of the original, kept from one job to the next: the same figures with and without.

Usage: test_states.py QUANTD QUANTD-RUN SOURCE. Prints what it does; exits with 0 when all passed.
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

QUANTD, QUANTD_RUN, SOURCE = sys.argv[1:4]
sys.path.insert(0, SOURCE + "/tests")
from unix_http import UnixConnection  # noqa: E402

HOME = tempfile.mkdtemp(prefix="quantd-states-")
SOCKET = HOME + "/quantd.sock"
STATES = HOME + "/cache/states"
SET, OTHER = "file:evaluation.txt", "file:other.txt"
REQUEST = {"model": "olmoe-demo", "eval": [SET], "seqlen": 128, "wbits": 3, "method": "rtn"}


def ask(method, path, body=None):
    connection = UnixConnection(SOCKET)
    connection.request(method, path, json.dumps(body) if body else None,
                       {"Content-Type": "application/json"})
    answer = connection.getresponse()
    return answer.status, json.loads(answer.read())


class Daemon:
    def __init__(self, *options):
        self.process = subprocess.Popen(
            [QUANTD, "--state-dir", HOME + "/state", "--cache-dir", HOME + "/cache", "--listen",
             "unix:" + SOCKET, "--device", "cpu", "--model-root", SOURCE + "/data", "--data-root",
             HOME + "/texts", "--disk-floor", "0", "--log-level", "warning", *options],
            env={**os.environ, "HF_HUB_OFFLINE": "1"})
        for _ in range(200):
            try:
                self.status()
                break
            except (OSError, http.client.HTTPException):
                time.sleep(0.05)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.process.send_signal(signal.SIGTERM)
        self.process.wait()

    def status(self):
        return ask("GET", "/v1/status")[1]["states"]

    def submit(self, **request):
        status, job = ask("POST", "/v1/jobs", {**REQUEST, **request})
        assert status == 202, job
        return job["id"]

    def result(self, job):
        for _ in range(2400):
            state = ask("GET", f"/v1/jobs/{job}")[1]
            if state["finished_at"]:
                break
            time.sleep(0.05)
        assert state["status"] == "succeeded", state["error"]
        return state["result"]

    def run(self, **request):
        return self.result(self.submit(**request))


def figures(result):
    return result["difference"], result["baseline"], result["perplexity"]


def files():
    return sorted(f"{STATES}/{name}" for name in os.listdir(STATES) if name != "id")


def cached(result):
    return result["original"]["cached_windows"]


def check_same(daemon):
    """The second job of a model takes what the first has computed, and says the same."""
    first = daemon.run()
    n = first["perplexity"][SET]["windows"]
    second = daemon.run()
    assert cached(first) == 0 and cached(second) == n, (first["original"], second["original"])
    assert figures(second) == figures(first)
    path, = files()
    status = daemon.status()
    assert status == {"path": STATES, "files": 1, "bytes": os.path.getsize(path),
                      "limit": 8 << 30}, status
    other = daemon.run(wbits=4)
    assert cached(other) == n and other["baseline"] == first["baseline"]
    assert other["difference"] != first["difference"]
    shorter = daemon.run(seqlen=64)
    assert cached(shorter) == 0 and len(files()) == 2
    print("ok   a second job has the same figures without the original's pass")
    os.remove(next(name for name in files() if name != path))
    return first, path


def check_sets(daemon, first):
    """Each set of a job is found by itself, in whatever company it was computed."""
    n = first["perplexity"][SET]["windows"]
    both = daemon.run(eval=[OTHER, SET])
    m = both["perplexity"][OTHER]["windows"]
    assert cached(both) == n and len(files()) == 2, both["original"]
    again = daemon.run(eval=[SET, OTHER])
    assert cached(again) == n + m and figures(again) == figures(both)
    for kind in ("difference", "baseline", "perplexity"):
        assert both[kind][SET] == first[kind][SET], kind
    alone = daemon.run(eval=[OTHER])
    assert cached(alone) == m and alone["difference"][OTHER] == both["difference"][OTHER]
    path = next(name for name in files() if os.path.getsize(name) < n * 128 * 256 * 4)
    flip(path, 5)
    damaged = daemon.run(eval=[OTHER, SET])
    assert cached(damaged) == n and figures(damaged) == figures(both)
    os.remove(path)
    print("ok   sets of one job: found, or computed, each by itself")


def flip(path, at):
    with open(path, "r+b") as f:
        f.seek(at, os.SEEK_SET if at >= 0 else os.SEEK_END)
        byte = f.read(1)
        f.seek(-1, os.SEEK_CUR)
        f.write(bytes([byte[0] ^ 1]))


def replace(path, make):
    os.remove(path)
    make(path)


def rewrite(path, old, new):
    with open(path, "rb") as f:
        data = f.read()
    assert data.count(old) >= 1
    with open(path, "wb") as f:
        f.write(data.replace(old, new))


def check_damaged(daemon, first, path):
    """Whatever is found there: the same figures, computed, and a good file afterwards."""
    with open(path, "rb") as f:
        good = f.read()
    cases = {
        "a byte of the first window": lambda: flip(path, 5),
        "a byte of a later window": lambda: flip(path, len(good) // 2),
        "its end": lambda: flip(path, -1),
        "a hash": lambda: flip(path, -10),
        "the key": lambda: rewrite(path, b'"device":"', b'"device":"x'),
        "half of it is gone": lambda: os.truncate(path, len(good) // 2),
        "all of it is gone": lambda: os.truncate(path, 0),
        "a byte more": lambda: open(path, "ab").write(b"x"),
        "much more": lambda: os.truncate(path, 2 * len(good)),
        "a link": lambda: replace(path, lambda p: os.symlink("/dev/zero", p)),
        "a pipe": lambda: replace(path, os.mkfifo),
    }
    for name, damage in cases.items():
        damage()
        result = daemon.run()
        assert cached(result) == 0 and figures(result) == figures(first), name
        with open(path, "rb") as f:
            assert f.read() == good, name
    replace(path, os.mkdir)
    result = daemon.run()
    assert cached(result) == 0 and figures(result) == figures(first)
    os.rmdir(path)
    print(f"ok   damaged in {len(cases) + 1} ways: computed again")


def check_killed(first):
    """A daemon that is killed while it computes leaves nothing that counts."""
    for path in files():
        os.remove(path)
    with Daemon() as daemon:
        job = daemon.submit()
        for _ in range(60000):  # two minutes: the layers come first
            if any("/new-" in name for name in files()):
                break
            time.sleep(0.002)
        else:
            raise AssertionError("no file was begun")
        daemon.process.kill()
        daemon.process.wait()
    left = files()
    with Daemon() as daemon:
        assert figures(daemon.result(job)) == figures(first)
        assert not [name for name in files() if name in left and "/new-" in name], files()
        assert cached(daemon.run()) == first["perplexity"][SET]["windows"]
    print("ok   killed: what was begun is swept, and the figures are the same")


def check_limits(first):
    with Daemon("--states-limit", "1K") as daemon:
        assert daemon.status()["files"] == 0, "the start keeps to the limit"
        result = daemon.run()
        assert cached(result) == 0 and figures(result) == figures(first) and files() == []
    with Daemon("--states-limit", "0") as daemon:
        assert cached(daemon.run()) == 0 and files() == []
    with Daemon("--disk-floor", "1000000T") as daemon:
        assert daemon.status()["files"] == 0
    print("ok   a limit: what is above it goes, and nothing is kept")


def run_folder(name, version, states):
    """The result of quantd-run on a folder of its own."""
    folder = f"{HOME}/{name}"
    os.makedirs(folder)
    with open(folder + "/job.json", "w", encoding="utf-8") as f:
        json.dump({"format": 1, "version": version, "id": 7, "kind": "quantize",
                   "request": REQUEST, "model_dir": SOURCE + "/data/olmoe-demo", "files": {},
                   "data_roots": [HOME + "/texts"], "device": "cpu", "states": states}, f)
    done = subprocess.run([QUANTD_RUN, folder], capture_output=True, timeout=250, check=False)
    if done.returncode:
        return done.stderr.decode()
    return json.loads(done.stdout.splitlines()[-1])["data"]["result"]


def check_run(first):
    """quantd-run uses the folder that it is told of, when it is that folder."""
    with Daemon() as daemon:
        version = ask("GET", "/v1/status")[1]["version"]
        daemon.run()
    n = first["perplexity"][SET]["windows"]
    with open(STATES + "/id", encoding="utf-8") as f:
        states = {"dir": STATES, "id": f.read(), "limit": 1 << 30, "floor": 0}
    result = run_folder("shared", version, states)
    assert cached(result) == n and figures(result) == figures(first), result
    for name, change in {"other": {"id": "0" * 32}, "none": {"dir": HOME + "/nowhere"},
                         "off": {"limit": 0}}.items():
        result = run_folder(name, version, {**states, **change})
        assert cached(result) == 0 and figures(result) == figures(first), result
    assert not os.path.exists(HOME + "/nowhere")
    assert "states" in run_folder("invalid", version, {**states, "dir": "cache"})
    print("ok   quantd-run: from the shared folder, and from no other")


def main():
    os.makedirs(HOME + "/texts")
    with open(SOURCE + "/data/texts/demo-evaluation.txt", "rb") as f:
        text = f.read(40000)
    with open(HOME + "/texts/evaluation.txt", "wb") as f:
        f.write(text[:text.rindex(b"\n")])
    with open(HOME + "/texts/other.txt", "wb") as f:
        f.write(text[:text.rindex(b"\n", 0, 9000)])
    try:
        with Daemon() as daemon:
            first, path = check_same(daemon)
            check_sets(daemon, first)
            check_damaged(daemon, first, path)
        check_killed(first)
        check_limits(first)
        check_run(first)
    finally:
        shutil.rmtree(HOME)


if __name__ == "__main__":
    main()
