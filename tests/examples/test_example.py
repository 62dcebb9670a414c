#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""docs/examples/quantize.py against a real quantd: what it prints, what it saves, how it fails.

Usage: test_example.py BUILD SOURCE. Needs requests, httpx and httpx-sse, which Debian 12 has in part
(python3-requests, python3-httpx); QUANTD_PYTHON may name the interpreter of a virtual environment
that has them. Else it is skipped.
"""
import hashlib
import os
import subprocess
import sys
import tempfile

BUILD, SOURCE = sys.argv[1:3]
PYTHON = os.environ.get("QUANTD_PYTHON", sys.executable)
EXAMPLE = SOURCE + "/docs/examples/quantize.py"
TEXT = "file:demo-calibration.txt"
sys.path.insert(0, SOURCE + "/scripts")

from own_daemon import Daemon, free_port  # noqa: E402


def run(port, *arguments, token=None):
    known = {"PATH": os.environ["PATH"], "QUANTD_SERVER": f"http://127.0.0.1:{port}"}
    return subprocess.run([PYTHON, EXAMPLE, *arguments], capture_output=True, text=True,
                          timeout=240, check=False,
                          env={**known, "QUANTD_TOKEN": token} if token else known)


def main():
    needed = subprocess.run([PYTHON, "-c", "import requests, httpx, httpx_sse"],
                            capture_output=True, text=True, check=False)
    if needed.returncode:
        print("skipped: " + needed.stderr.strip().splitlines()[-1] + "; python3 -m venv DIR, "
              "DIR/bin/pip install requests httpx-sse, QUANTD_PYTHON=DIR/bin/python")
        sys.exit(77)
    port = free_port()
    with tempfile.TemporaryDirectory() as folder, Daemon(
            BUILD, "--device", "cpu", "--disk-floor", "0", port=port) as daemon:
        done = run(port, "olmoe-demo", TEXT, folder + "/out")
        assert done.returncode == 0, done
        lines = done.stdout.splitlines()
        kinds = [line.split(" ")[0] for line in lines]
        assert kinds[:2] == ["job", "job.queued"] and "layer.finished" in kinds, kinds
        assert kinds[-2] == "job.succeeded" and lines[-1].startswith("perplexity of " + TEXT)
        assert all(kinds) and "message" not in kinds, "an event without data or name"
        job = daemon.get("/v1/jobs/1")
        assert sorted(os.listdir(folder + "/out")) == sorted(f["name"] for f in job["artifacts"])
        for file in job["artifacts"]:
            with open(f"{folder}/out/{file['name']}", "rb") as saved:
                assert hashlib.sha256(saved.read()).hexdigest() == file["sha256"], file
        done = run(port, "nothing", TEXT, folder + "/none")
        assert done.returncode == 1 and "'nothing'" in done.stderr, done
        token = daemon.request("POST", "/v1/tokens", {"name": "t"})["token"]
        assert run(port, "olmoe-demo", TEXT, folder + "/none").returncode == 1
        done = run(port, "nothing", TEXT, folder + "/none", token=token)
        assert "'nothing'" in done.stderr, done
    print("ok: submitted, followed, saved; refusals with their reasons")


main()
