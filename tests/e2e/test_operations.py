#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""quantd under a service manager that this test plays: readiness, reload.

Usage: test_operations.py QUANTD SOURCE. Prints what it does; the exit status tells.
"""
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time

QUANTD, SOURCE = sys.argv[1:3]
HOME = tempfile.mkdtemp(prefix="quantd-ops-")
SOCKET, CONFIG = HOME + "/quantd.sock", HOME + "/quantd.conf"
SECONDS = 120


class Manager:
    """The other end of NOTIFY_SOCKET: everything that it is told, in order."""

    def __init__(self):
        self.path = HOME + "/notify"
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.socket.bind(self.path)
        self.socket.settimeout(0.1)
        self.lines = []

    def listen(self):
        try:
            self.lines += self.socket.recv(4096).decode().splitlines()
        except socket.timeout:
            pass

    def wait_for(self, prefix, start=0):
        """Index of the first line from START on that begins with PREFIX."""
        end = time.monotonic() + SECONDS
        while time.monotonic() < end:
            for i in range(start, len(self.lines)):
                if self.lines[i].startswith(prefix):
                    return i
            self.listen()
        raise AssertionError(f"'{prefix}' never came: {self.lines[start:]}\n{log()}")


def log():
    with open(HOME + "/log", encoding="utf-8") as f:
        return f.read()


def configure(*lines):
    with open(CONFIG + ".new", "w", encoding="utf-8") as f:
        f.write("\n".join(("[daemon]", "device = cpu", "listen = unix:" + SOCKET,
                           "listen = 127.0.0.1:0", *lines)) + "\n")
    os.rename(CONFIG + ".new", CONFIG)


def start(manager, **environment):
    with open(HOME + "/log", "ab") as log_file:
        process = subprocess.Popen(
            [QUANTD, "--config", CONFIG, "--state-dir", HOME + "/state", "--cache-dir",
             HOME + "/cache"], stderr=log_file,
            env={**os.environ, "HF_HUB_OFFLINE": "1", "NOTIFY_SOCKET": manager.path, **environment})
    manager.wait_for("READY=1")
    return process


def curl(path, *options):
    done = subprocess.run(
        ["curl", "-sS", "--max-time", "60", "--unix-socket", SOCKET, "-w", "\n%{http_code}",
         "http://localhost" + path, *options], capture_output=True, check=False)
    body, _, status = done.stdout.rpartition(b"\n")
    return int(status or 0), json.loads(body or b"null")


def reload(manager, process):
    """The state that the manager shows afterwards."""
    at = len(manager.lines)
    process.send_signal(signal.SIGHUP)
    at = manager.wait_for("RELOADING=1", at)
    assert manager.lines[at + 1].startswith("MONOTONIC_USEC="), manager.lines[at:]
    manager.wait_for("READY=1", at)
    return manager.lines[manager.wait_for("STATUS=", at)]


def model_code(name):
    status, problem = curl("/v1/jobs", "-H", "Content-Type: application/json", "-d",
                           json.dumps({"model": name, "wbits": 16, "eval": "file:no.txt"}))
    return status, problem.get("code")


def check_reload(manager, process):
    assert curl("/readyz")[0] == 200
    assert model_code("olmoe-demo")[1] == "model_not_found"

    configure("disk-floor = 1000000T", f"model-root = {SOURCE}/data", "log-level = debug")
    assert reload(manager, process) == "STATUS=serving"
    status, problem = curl("/readyz")
    assert status == 503 and problem["code"] == "disk_full", problem
    assert model_code("olmoe-demo")[1] != "model_not_found"
    assert "'disk-floor' has changed" in log() and "needs a restart" not in log(), log()

    configure("disk-floor = 1", "state-dir = /elsewhere", "cache-limit = 1G", "hub-offline = yes")
    assert reload(manager, process) == "STATUS=serving; options that need a restart: 1"
    assert "'hub-offline' has changed and needs a restart" in log(), log()
    assert "'state-dir' has changed" not in log(), "the flag wins over the file"
    assert curl("/readyz")[0] == 200 and model_code("olmoe-demo")[1] == "model_not_found"

    # A line that makes no sense: nothing of the file is used.
    configure("disk-floor = 1000000T", "no-such-key = 1")
    told = reload(manager, process)
    assert "no-such-key" in told and "not used" in told, told
    assert "the configuration stays as it was: unknown key 'no-such-key'" in log(), log()
    assert curl("/readyz")[0] == 200
    os.unlink(CONFIG)
    assert "not used" in reload(manager, process)
    assert curl("/readyz")[0] == 200

    configure()
    assert reload(manager, process) == "STATUS=serving"


def main():
    manager = Manager()
    configure("disk-floor = 1")
    process = start(manager)
    try:
        check_reload(manager, process)
        print("ok: SIGHUP takes over what can change, names what cannot, and survives a bad file")
        process.send_signal(signal.SIGTERM)
        manager.wait_for("STOPPING=1")
        assert process.wait(timeout=SECONDS) == 0
        print("ok: stopped")
    finally:
        process.kill()
        process.wait()
        shutil.rmtree(HOME, ignore_errors=True)


main()
