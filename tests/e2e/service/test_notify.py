#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Notifications of the end of jobs: signed, sent again, after kill -9 too, and only where allowed.

Usage: test_notify.py QUANTD QUANTCTL SOURCE. Prints what it does; exits with 0 when all passed.
"""
import functools
import hashlib
import hmac
import http.server
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "../.."))

import unix_http  # noqa: E402

QUANTD, QUANTCTL, SOURCE = sys.argv[1:4]
HOME = tempfile.mkdtemp(prefix="quantd-notify-")
SOCKET = HOME + "/quantd.sock"
KEY = "0123456789abcdef-key"
PATIENCE = 60
ask = functools.partial(unix_http.ask, SOCKET, timeout=PATIENCE)
JOB = {"kind": "eval", "model": "olmoe-demo", "eval": "file:short.txt", "seqlen": 64}


class Receiver(http.server.ThreadingHTTPServer):
    """Answers with the statuses that the test has put, then 204; keeps what came, and counts the
    connections, of which some may bring nothing."""

    def __init__(self, port=0):
        self.came, self.statuses, self.connections = [], [], 0
        super().__init__(("127.0.0.1", port), Handler)
        threading.Thread(target=self.serve_forever, args=(0.05,), daemon=True).start()

    def verify_request(self, _request, _client_address):
        self.connections += 1
        return True

    @property
    def host(self):
        return f"127.0.0.1:{self.server_port}"

    def expect(self, n, seconds=PATIENCE):
        end = time.monotonic() + seconds
        while len(self.came) < n:
            assert time.monotonic() < end, (self.came, log())
            time.sleep(0.05)
        return self.came


class Handler(http.server.BaseHTTPRequestHandler):
    def log_message(self, *_args):
        pass

    def do_POST(self):
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.server.came.append((self.path, dict(self.headers), body))
        self.send_response(self.server.statuses.pop(0) if self.server.statuses else 204)
        self.send_header("Location", f"http://{self.server.host}/elsewhere")
        self.end_headers()


class Daemon:
    processes = []

    def __init__(self, *options):
        with open(HOME + "/log", "ab") as output:
            self.process = subprocess.Popen(
                [QUANTD, "--device", "cpu", "--listen", "unix:" + SOCKET, "--state-dir",
                 HOME + "/state", "--cache-dir", HOME + "/cache", "--model-root", SOURCE + "/data",
                 "--data-root", HOME + "/texts", *options], stderr=output,
                env={**os.environ, "HF_HUB_OFFLINE": "1"})
        self.processes.append(self.process)
        end = time.monotonic() + 30
        while not (os.path.exists(SOCKET) and self.answers()):
            assert time.monotonic() < end and self.process.poll() is None, log()
            time.sleep(0.05)

    def answers(self):
        try:
            return ask("GET", "/v1/version")[0] == 200
        except OSError:
            return False

    def stop(self, number=signal.SIGTERM):
        self.process.send_signal(number)
        self.process.wait(timeout=30)


def log():
    with open(HOME + "/log", encoding="utf-8") as f:
        return f.read()


def submit(**fields):
    status, job = ask("POST", "/v1/jobs", {**JOB, **fields})
    assert status == 202, job
    return job["id"]


def wait_for(job, status):
    end = time.monotonic() + PATIENCE
    while (found := ask("GET", f"/v1/jobs/{job}")[1]["status"]) != status:
        assert time.monotonic() < end, (job, found, log())
        time.sleep(0.05)


def wait_for_file(path):
    end = time.monotonic() + PATIENCE
    while not os.path.exists(path):
        assert time.monotonic() < end, (path, log())
        time.sleep(0.05)


def wait_for_log(text):
    end = time.monotonic() + PATIENCE
    while text not in log():
        assert time.monotonic() < end, (text, log())
        time.sleep(0.05)


def refused(url, words):
    status, answer = ask("POST", "/v1/jobs", {**JOB, "notify": url})
    assert status == 422 and answer["field"] == "notify" and words in answer["detail"], (url, answer)
    assert ask("POST", "/v1/estimate", {**JOB, "notify": url})[0] == 422


def is_genuine(key, headers, body):
    """As quantd-api(7) has it."""
    stamp = headers["Quantd-Timestamp"]
    digest = hmac.new(key, stamp.encode() + b"." + body, hashlib.sha256)
    return (hmac.compare_digest(headers["Quantd-Signature"], "sha256=" + digest.hexdigest())
            and abs(time.time() - int(stamp)) < 300)


def check(came, job, kind):
    path, headers, body = came
    value = json.loads(body)
    assert is_genuine(KEY.encode(), headers, body), headers
    assert not is_genuine(b"other", headers, body)
    assert value["type"] == kind and value["job"]["id"] == job, value
    assert str(value["id"]) == headers["Quantd-Notification"]
    assert headers["Content-Type"] == "application/json"
    assert "notify" not in value["job"], "the URL may be a secret"
    return path, value["id"]


def test_hosts(receiver):
    """Only hosts of the configuration, only as they are written."""
    print("hosts")
    daemon = Daemon()
    refused(f"http://{receiver.host}/x", "notifies no URL")
    daemon.stop()
    daemon = Daemon("--notify-host", receiver.host, "--notify-host", "example.org",
                    "--notify-key-file", HOME + "/key", "--notify-private", "yes")
    for url in ("http://127.0.0.1/x", "http://127.0.0.1:1/x", "https://other.example.org/",
                "https://example.org:8443/", f"http://{receiver.host}.example.org/",
                f"http://user@{receiver.host}/", f"http://example.org@{receiver.host}/",
                "https:///x", "https://[::1]/", f"http://{receiver.host}x/"):
        refused(url, "does not notify")
    for url in ("ftp://example.org/", "example.org", "", "file:///etc/passwd"):
        refused(url, "https://")
    refused("https://example.org/a b", "printable")
    refused("https://example.org\\@x/", "printable")
    refused("https://example.org/" + "x" * 1000, "1000")
    status, answer = ask("POST", "/v1/jobs", {**JOB, "notify": 5})
    assert status == 422 and answer["field"] == "notify", answer
    daemon.stop()
    done = subprocess.run([QUANTD, "--check-config", "--notify-host", "h"], capture_output=True,
                          text=True, check=False)
    assert done.returncode and "notify-key-file" in done.stderr, done


def options(receiver, *more):
    return ("--notify-host", receiver.host, "--notify-key-file", HOME + "/key",
            "--notify-private", "yes", *more)


def test_delivery(receiver):
    """By quantctl; after a redirect it is tried again, with the same id, and elsewhere never."""
    print("delivery, retry, redirect")
    daemon = Daemon(*options(receiver))
    receiver.statuses = [302]
    done = subprocess.run(
        [QUANTCTL, "--server", "unix:" + SOCKET, "eval", "olmoe-demo", "--eval", "file:short.txt",
         "--seqlen", "64", "--json", "--notify", f"http://{receiver.host}/hook?x=1"],
        capture_output=True, text=True, check=True)
    job = json.loads(done.stdout)["id"]
    came = receiver.expect(2)
    assert {check(each, job, "job.succeeded") for each in came} == {
        ("/hook?x=1", json.loads(came[0][2])["id"])}, came
    assert json.loads(came[1][2])["job"]["result"]["perplexity"], came[1]
    assert "302; redirects are not followed" in log()
    # a cancelled job, and one that asks for nothing, for which the other waits
    receiver.came.clear()
    quiet = submit()
    held = submit(notify=f"http://{receiver.host}/held")
    ask("POST", f"/v1/jobs/{held}/cancel", {})
    assert check(receiver.expect(1)[0], held, "job.cancelled")[0] == "/held"
    wait_for(quiet, "succeeded")
    assert len(receiver.came) == 1, receiver.came
    retried = ask("POST", f"/v1/jobs/{held}/retry", {})[1]["id"]
    assert check(receiver.expect(2)[1], retried, "job.succeeded")[0] == "/held"
    daemon.stop()


def test_restart(receiver):
    """What could not be delivered is delivered by a later process, after kill -9."""
    print("kill -9 and restart")
    daemon = Daemon(*options(receiver))
    port = receiver.server_port
    receiver.shutdown()
    receiver.server_close()
    job = submit(notify=f"http://127.0.0.1:{port}/late")
    wait_for_log(f"cannot notify of the end of job {job}")
    assert ask("GET", f"/v1/jobs/{job}")[1]["status"] == "succeeded"
    daemon.stop(signal.SIGKILL)
    receiver = Receiver(port)
    daemon = Daemon(*options(receiver))
    assert check(receiver.expect(1)[0], job, "job.succeeded")[0] == "/late"
    daemon.stop()
    daemon = Daemon(*options(receiver))
    job = submit(notify=f"http://{receiver.host}/next")
    assert check(receiver.expect(2)[-1], job, "job.succeeded")[0] == "/next"
    daemon.stop()
    assert [path for path, _, _ in receiver.came] == ["/late", "/next"], "it was delivered again"
    return receiver


def test_private(receiver):
    """Without notify-private a name that leads inside is not connected to."""
    print("private addresses")
    daemon = Daemon("--notify-host", f"localhost:{receiver.server_port}", "--notify-key-file",
                    HOME + "/key")
    before = receiver.connections
    refused(f"http://localhost:{receiver.server_port}/", "https://")
    job = submit(notify=f"https://localhost:{receiver.server_port}/")
    wait_for_log(f"cannot notify of the end of job {job}")
    daemon.stop()
    # With TLS nothing would come to this receiver even if it were connected to.
    assert receiver.connections == before, "a private address was connected to"


def test_config(receiver):
    """The configuration's URL and command, for every job; a command that hangs delays none."""
    print("the configuration's URL and command")
    with open(HOME + "/command", "w", encoding="utf-8") as f:
        f.write(f"#!/bin/bash\n[ ! -e {HOME}/hang ] || hangs=1\n"
                f"env >{HOME}/environment\nls /proc/self/fd >{HOME}/files\n"
                f"cat >{HOME}/notification.new; mv {HOME}/notification.new {HOME}/notification\n"
                f"[ -z \"$hangs\" ] || sleep 1000\n")
    os.chmod(HOME + "/command", 0o755)
    receiver.came.clear()
    secret = {"QUANTD_SECRET": "x"}
    os.environ.update(secret)
    daemon = Daemon(*options(receiver, "--notify-url", f"http://{receiver.host}/all",
                             "--notify-command", HOME + "/command"))
    job = submit()
    assert check(receiver.expect(1)[0], job, "job.succeeded")[0] == "/all"
    wait_for_file(HOME + "/notification")
    with open(HOME + "/notification", encoding="utf-8") as f:
        assert json.load(f)["job"]["id"] == job
    with open(HOME + "/environment", encoding="utf-8") as f:
        variables = dict(line.split("=", 1) for line in f.read().splitlines())
    for name in ("PWD", "SHLVL", "_", "OLDPWD"):  # of the shell
        variables.pop(name, None)
    assert variables == {"QUANTD_JOB": str(job), "QUANTD_STATUS": "succeeded", "LANG": "C.UTF-8",
                         "PATH": "/usr/local/bin:/usr/bin:/bin"}, variables
    with open(HOME + "/files", encoding="utf-8") as f:
        assert set(f.read().split()) <= {"0", "1", "2", "3", "255"}, "files of the daemon are open"
    with open(HOME + "/hang", "w", encoding="utf-8"):
        pass
    os.remove(HOME + "/notification")
    submit()
    wait_for_file(HOME + "/notification")
    wait_for(submit(), "succeeded")  # though the command hangs
    began = time.monotonic()
    daemon.stop()
    assert time.monotonic() - began < 10, "a command delays the stop"


def main():
    os.mkdir(HOME + "/texts")
    with open(SOURCE + "/data/texts/demo-evaluation.txt", encoding="utf-8") as f:
        text = f.read(4000)
    with open(HOME + "/texts/short.txt", "w", encoding="utf-8") as f:
        f.write(text)
    with open(HOME + "/key", "w", encoding="utf-8") as f:
        f.write(KEY + "\n")
    receiver = Receiver()
    try:
        test_hosts(receiver)
        test_delivery(receiver)
        receiver = test_restart(receiver)
        test_private(receiver)
        test_config(receiver)
    finally:
        for process in Daemon.processes:
            process.kill()
            process.wait()
        shutil.rmtree(HOME)


main()
