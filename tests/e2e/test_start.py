#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""The choice of OpenBLAS's kernels at the start, with a library that chose lesser ones.

Usage: test_start.py QUANTD QUANTD-RUN SOURCE LIBRARY. Prints what it does; the exit status says
how it went.
"""
import http.client
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time

QUANTD, QUANTD_RUN, SOURCE, LIBRARY = sys.argv[1:5]
sys.path.insert(0, SOURCE + "/tests")
from unix_http import UnixConnection  # noqa: E402

HOME = tempfile.mkdtemp(prefix="quantd-start-")
SOCKET, NOTIFY, LOG = HOME + "/quantd.sock", HOME + "/notify", HOME + "/log"
AGAIN = "starting again"
AVX512 = {"avx512f", "avx512cd", "avx512bw", "avx512dq", "avx512vl"}


def suitable():
    """The kernels that suit this processor, the best first."""
    with open("/proc/cpuinfo", encoding="ascii") as f:
        text = f.read()
    flags = set(next((line for line in text.splitlines() if line.startswith("flags")), "").split())
    return ([name for needed, name in (
        (AVX512, "SkylakeX"),
        ({"avx2", "fma"}, "Zen" if "AuthenticAMD" in text else "Haswell"),
        ({"avx"}, "Sandybridge")) if needed <= flags])


def environment(**variables):
    plain = {name: value for name, value in os.environ.items() if name != "OPENBLAS_CORETYPE"}
    return {**plain, "HF_HUB_OFFLINE": "1", "LD_PRELOAD": LIBRARY, **variables}


class Daemon:
    """quantd with a socket of the service manager's, in this environment."""

    def __init__(self, **variables):
        for path in (SOCKET, NOTIFY):
            if os.path.exists(path):
                os.remove(path)
        self.notify = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.notify.bind(NOTIFY)
        self.notify.settimeout(100)
        listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        listener.bind(SOCKET)
        listener.listen()
        self.arguments = [QUANTD, "--state-dir", HOME + "/state", "--cache-dir", HOME + "/cache",
                          "--device", "cpu", "--model-root", SOURCE + "/data", "--data-root",
                          HOME + "/texts"]
        # The shell's id is that of the daemon, as LISTEN_PID must be.
        with open(LOG, "wb") as log_file:
            self.process = subprocess.Popen(
                ["sh", "-c", 'exec 3<&"$0"; LISTEN_PID=$$ exec "$@"', str(listener.fileno()),
                 *self.arguments], stderr=log_file, pass_fds=[listener.fileno()],
                env=environment(LISTEN_FDS="1", NOTIFY_SOCKET=NOTIFY, **variables))
        listener.close()
        while "READY=1" not in self.notify.recv(4096).decode().splitlines():
            pass

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.process.send_signal(signal.SIGTERM)
        status = self.process.wait(timeout=60)
        self.notify.close()
        assert status == 0, log()

    def proc(self, name):
        with open(f"/proc/{self.process.pid}/{name}", encoding="utf-8") as f:
            return f.read()

    def variable(self, name):
        """Its value in the daemon's environment; None without it."""
        lines = self.proc("environ").split("\0")
        return next((line.partition("=")[2] for line in lines if line.startswith(name + "=")), None)


def log():
    with open(LOG, encoding="utf-8") as f:
        return f.read()


def ask(method, path, body=None):
    connection = UnixConnection(SOCKET)
    connection.request(method, path, json.dumps(body) if body else None,
                       {"Content-Type": "application/json"})
    answer = connection.getresponse()
    return answer.status, json.loads(answer.read())


def library():
    return ask("GET", "/v1/devices")[1]["data"][0]["library"]


def run_job():
    """A job to its end. Returns what its quantd.json says of the library."""
    status, job = ask("POST", "/v1/jobs", {
        "model": "olmoe-demo", "dataset": "file:short.txt", "eval": "file:short.txt", "wbits": 4,
        "groupsize": 128, "nsamples": 4, "seqlen": 256})
    assert status == 202, job
    while job["status"] in ("queued", "running"):
        time.sleep(0.1)
        job = ask("GET", f"/v1/jobs/{job['id']}")[1]
    assert job["status"] == "succeeded", job["error"]
    with open(f"{HOME}/state/jobs/{job['id']}/artifact/quantd.json", encoding="utf-8") as f:
        return json.load(f)["library"]


def test_better(best):
    with Daemon() as daemon:
        assert daemon.variable("OPENBLAS_CORETYPE") == best, log()
        assert daemon.variable("NOTIFY_SOCKET") == NOTIFY
        assert daemon.proc("comm").strip() == "quantd"
        assert daemon.proc("cmdline").split("\0")[:-1] == daemon.arguments
        assert library().startswith("OpenBLAS ") and library().endswith(" " + best), library()
        assert run_job() == library()
        assert log().count(AGAIN) == 1, log()
    print(f"ok: {best} instead of Prescott, with the id, arguments and sockets as they were")


def test_own_choice():
    with Daemon(OPENBLAS_CORETYPE="Nehalem") as daemon:
        assert daemon.variable("OPENBLAS_CORETYPE") == "Nehalem"
        assert library().endswith(" Nehalem"), library()
        assert AGAIN not in log(), log()
    print("ok: the user's own choice stays")


def test_broken(how, expected):
    with Daemon(BROKEN_KERNELS=how) as daemon:
        assert daemon.variable("OPENBLAS_CORETYPE") is None
        assert library().endswith(" Prescott"), library()
        assert expected in log() and AGAIN not in log(), log()
        assert run_job() == library()
    print(f"ok: broken kernels ({how}) are not used, and a warning says so")


def test_run(best):
    done = subprocess.run([QUANTD_RUN, HOME + "/none"], env=environment(), capture_output=True,
                          check=False, text=True)
    assert done.returncode == 2 and "cannot read" in done.stderr, done
    assert done.stderr.count(AGAIN) == 1 and best in done.stderr, done
    print("ok: quantd-run starts again too")


def test_version():
    done = subprocess.run([QUANTD, "--version"], env=environment(), capture_output=True, check=True,
                          text=True)
    assert done.stdout.startswith("quantd ") and not done.stderr, done
    print("ok: --version tests nothing")


def main():
    cores = suitable()
    if not cores:
        print("skipped: this processor has no better kernels than those for Prescott")
        sys.exit(77)
    os.makedirs(HOME + "/texts")
    with open(SOURCE + "/data/texts/demo-calibration.txt", "rb") as f:
        text = f.read(60000)
    with open(HOME + "/texts/short.txt", "wb") as f:
        f.write(text[:text.rindex(b"\n")])
    test_better(cores[0])
    test_own_choice()
    test_broken("wrong", "compute wrongly in a test")
    test_broken("crash", "fail a test (Illegal instruction)")
    test_broken("hang", "fail a test (no end)")
    test_run(cores[0])
    test_version()


try:
    main()
finally:
    shutil.rmtree(HOME)
