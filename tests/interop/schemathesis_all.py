#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Every operation of openapi.json against a real quantd, by Schemathesis with all its checks.

Usage: schemathesis_all.py BUILD VENV [EXAMPLES [SEED]]

Exits with 0 when no check fails. VENV is a folder for a virtual environment, which is made and
filled from the Python package index when it is not there. 50 EXAMPLES an operation take about four
minutes on two cores. No suite runs it.
"""
import hashlib
import os
import subprocess
import sys

from own_venv import need

BUILD, VENV = sys.argv[1:3]
EXAMPLES = sys.argv[3] if len(sys.argv) > 3 else "50"
SEED = sys.argv[4] if len(sys.argv) > 4 else "1"
SOURCE = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
need(VENV, schemathesis="schemathesis")
sys.path.insert(0, SOURCE + "/scripts")

from own_daemon import Daemon, free_port  # noqa: E402

# A token that no request of the run can revoke.
TOKEN = hashlib.sha256(b"schemathesis").hexdigest()
# What no schema can say: which models and sets there are, which parameters go together, and that a
# sorted list does not go on after a job that is not there.
CONFIG = """
[[operations]]
include-name = ["POST /v1/jobs", "POST /v1/estimate", "GET /v1/jobs"]
checks.positive_data_acceptance.expected-statuses = [
    "2xx", "3xx", "401", "403", "404", "409", "422", "429"]
"""


def main():
    port = free_port()
    with Daemon(BUILD, "--device", "cpu", "--disk-floor", "0", port=port) as daemon:
        folder = daemon.home
        config, tokens = folder + "/schemathesis.toml", folder + "/tokens"
        with open(config, "w", encoding="utf-8") as file:
            file.write(CONFIG)
        with open(tokens, "w", encoding="utf-8") as file:
            file.write(f"tester admin {TOKEN}\n")
        os.chmod(tokens, 0o600)
        daemon.stop()
        daemon.options += ["--token-file", tokens]
        daemon.start()
        for _ in range(2):
            daemon.wait(daemon.submit(kind="eval", eval="file:demo-calibration.txt", seqlen=512))
        return subprocess.run(
            [sys.executable, "-m", "schemathesis.cli", "--config-file", config, "run",
             f"http://127.0.0.1:{port}/openapi.json", "-H", f"Authorization: Bearer {TOKEN}",
             "--checks", "all", "--generation-allow-x00", "false", "--max-examples",
             EXAMPLES, "--seed", SEED],
            cwd=folder, check=False).returncode


sys.exit(main())
