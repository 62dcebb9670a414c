# SPDX-License-Identifier: Apache-2.0
"""A quantd of one's own on the demo model: for scripts that measure it or take pictures of it."""
import http.client
import json
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "../tests"))

from unix_http import UnixConnection  # noqa: E402

SOURCE = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
ANSWER_SECONDS = 60
START_SECONDS = 60


class Daemon:
    """Listens on a socket in a folder of its own and, with @port, on loopback. A context manager:
    at its end the daemon is stopped and the folder removed."""

    def __init__(self, build, *options, port=None):
        self.build = os.path.abspath(build)
        self.home = tempfile.mkdtemp(prefix="quantd-own-")
        self.socket = self.home + "/quantd.sock"
        self.options = list(options)
        self.port = port
        self.process = None
        try:
            self.start()
        except BaseException:
            self.__exit__()
            raise

    def start(self):
        listen = ["--listen", "unix:" + self.socket]
        if self.port:
            listen += ["--listen", f"127.0.0.1:{self.port}"]
        with open(self.home + "/log", "ab") as log:
            self.process = subprocess.Popen(
                [self.program(), "--state-dir", self.home + "/state", "--cache-dir",
                 self.home + "/cache", "--model-root", SOURCE + "/data", "--data-root",
                 SOURCE + "/data/texts", *listen, *self.options],
                stderr=log, stdin=subprocess.DEVNULL, env={**os.environ, "HF_HUB_OFFLINE": "1"})
        end = time.monotonic() + START_SECONDS
        while time.monotonic() < end and self.process.poll() is None:
            try:
                self.get("/healthz")
                return
            except OSError:
                time.sleep(0.05)
        raise RuntimeError("quantd does not answer: " + self.log())

    def program(self):
        """In a folder that is built, or in one of scripts/bundle."""
        built = self.build + "/daemon/quantd"
        return built if os.path.exists(built) else self.build + "/bin/quantd"

    def stop(self):
        self.process.terminate()
        if self.process.wait(timeout=60):
            raise RuntimeError("quantd did not stop as it should: " + self.log())
        self.process = None

    def log(self):
        with open(self.home + "/log", encoding="utf-8") as file:
            return file.read()[-4000:]

    def request(self, method, path, body=None, token=None):
        """The answer's JSON, on the socket, or with a token on loopback. RuntimeError with its
        words when it is no success."""
        connection = UnixConnection(self.socket, ANSWER_SECONDS)
        headers = {"Content-Type": "application/json"}
        if token:
            connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=ANSWER_SECONDS)
            headers["Authorization"] = "Bearer " + token
        try:
            connection.request(method, path, None if body is None else json.dumps(body), headers)
            answer = connection.getresponse()
            text = answer.read()
            value = json.loads(text) if text else None
        finally:
            connection.close()
        if answer.status >= 300:
            raise RuntimeError(f"{method} {path}: {answer.status} {value.get('detail')}")
        return value

    def get(self, path):
        return self.request("GET", path)

    def delete(self, job):
        self.request("DELETE", f"/v1/jobs/{job}")

    def submit(self, **request):
        return self.request("POST", "/v1/jobs", {"model": "olmoe-demo", **request})["id"]

    def wait(self, job, seconds=900):
        """The job when it has ended."""
        end = time.monotonic() + seconds
        while True:
            state = self.get(f"/v1/jobs/{job}")
            if state["status"] in ("succeeded", "failed", "cancelled"):
                return state
            if time.monotonic() > end:
                raise RuntimeError(f"job {job} does not end: {state['status']}")
            time.sleep(0.1)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        if self.process:
            self.process.kill()
            self.process.wait()
        shutil.rmtree(self.home, ignore_errors=True)


def free_port():
    """A port of loopback that nobody has at the moment."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]
