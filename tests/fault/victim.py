# SPDX-License-Identifier: Apache-2.0
"""A quantd that gets killed, and clients that outlive it. Standard library only."""
import http.client
import json
import os
import random
import re
import shlex
import signal
import subprocess
import sys
import threading
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), ".."))

from unix_http import UnixConnection  # noqa: E402

START_SECONDS = 120
# Of the sanitizers, and of valgrind -q.
REPORT = re.compile(rb"Sanitizer|runtime error:|^==\d+==", re.MULTILINE)


WORDS = "the of and to in is was for on that with as by at from his it an were are which".split()


def split_words(path):
    """The tokenizer splits texts as that of OLMoE does, so that a GGUF file can hold it."""
    with open(path, encoding="utf-8") as file:
        tokenizer = json.load(file)
    tokenizer["pre_tokenizer"]["use_regex"] = True
    with open(path, "w", encoding="utf-8") as file:
        json.dump(tokenizer, file)


def prepare(home, make_checkpoint, nsamples=128):
    """A small model, another of its shape, and two texts, the same every time; for jobs of few
    samples a shorter one."""
    rng = random.Random(0)
    for folder in ("models", "texts", "state"):
        os.mkdir(f"{home}/{folder}")
    os.mkdir(home + "/others")
    for seed, folder in ((0, "models/small"), (1, "others/small")):
        subprocess.run([make_checkpoint, "--hidden", "128", "--intermediate", "64", "--layers", "4",
                        "--experts", "8", "--experts-per-token", "2", "--heads", "4", "--vocab",
                        "512", "--positions", "256", "--seed", str(seed), f"{home}/{folder}"],
                       check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        split_words(f"{home}/{folder}/tokenizer.json")
    for name, n_words in (("calibration", 20000), ("evaluation", min(1200, 30 + 30 * nsamples))):
        with open(f"{home}/texts/{name}.txt", "w", encoding="utf-8") as file:
            file.write(" ".join(rng.choice(WORDS) for _ in range(n_words)))


class Daemon:
    """quantd on one state folder, over as many lives as it takes."""

    def __init__(self, program, home, options=(), under=""):
        self.home, self.state, self.socket = home, home + "/state", home + "/socket"
        self.command = [*shlex.split(under), program, "--state-dir", self.state, "--cache-dir",
                        home + "/cache", "--listen", "unix:" + self.socket, "--device", "cpu",
                        "--model-root", home + "/models", "--data-root", home + "/texts", *options]
        self.log_path = home + "/log"
        self.process, self.checked = None, 0

    def start(self):
        environment = {**os.environ, "OPENBLAS_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"}
        with open(self.log_path, "ab") as log:
            self.process = subprocess.Popen(self.command, stderr=log, env=environment)

    def wait_ready(self):
        until = time.monotonic() + START_SECONDS
        while time.monotonic() < until:
            answer = self.ask("GET", "/readyz")
            if answer and answer[0] == 200:
                return
            assert self.process.poll() is None, f"quantd ended: {self.process.poll()}\n{self.log()}"
            time.sleep(0.005)
        raise AssertionError(f"quantd is not ready\n{self.log()}")

    def kill(self):
        """kill -9; it must still have been there."""
        self.process.send_signal(signal.SIGKILL)
        status = self.process.wait()
        self.check_log()
        assert status == -signal.SIGKILL, f"quantd had ended by itself: {status}\n{self.log()}"

    def stop_for(self, seconds):
        """SIGTERM, and kill -9 so much later. Return: had it stopped by itself?"""
        self.process.send_signal(signal.SIGTERM)
        try:
            status = self.process.wait(timeout=seconds)
        except subprocess.TimeoutExpired:
            self.process.send_signal(signal.SIGKILL)
            status = self.process.wait()
        self.check_log()
        assert status in (0, -signal.SIGKILL), f"quantd ended with {status}\n{self.log()}"
        return status == 0

    def end(self):
        """Whatever became of the test, nothing stays."""
        if self.process and self.process.poll() is None:
            self.process.kill()
            self.process.wait()

    def log(self):
        with open(self.log_path, "rb") as log:
            return log.read()[-4000:].decode(errors="replace")

    def check_log(self):
        """A sanitizer's report does not always end the process before the kill does."""
        with open(self.log_path, "rb") as log:
            log.seek(self.checked)
            new = log.read()
        self.checked += len(new)
        assert not REPORT.search(new), new.decode(errors="replace")

    def ask(self, method, path, body=None, headers=None, sent=None):
        """(status, headers, body) of one request, None when no whole answer came.

        sent() is called between the request and its answer.
        """
        connection = UnixConnection(self.socket)
        headers = dict(headers or {})
        if body is not None:
            headers["Content-Type"] = "application/json"
            body = json.dumps(body)
        try:
            connection.request(method, path, body, headers)
            if sent:
                sent()
            answer = connection.getresponse()
            return answer.status, answer.headers, answer.read()
        except (OSError, http.client.HTTPException):
            return None
        finally:
            connection.close()

    def insist(self, method, path, body=None, headers=None, sent=None):
        """ask() until there is an answer. Return: its status, its JSON, how many were cut off."""
        until, n_sent = time.monotonic() + START_SECONDS, 0

        def count():
            nonlocal n_sent
            n_sent += 1
            if sent:
                sent()
        while time.monotonic() < until:
            answer = self.ask(method, path, body, headers, count)
            if answer:
                return answer[0], json.loads(answer[2] or b"null"), n_sent - 1
            time.sleep(0.01)
        raise AssertionError(f"{method} {path} is never answered\n{self.log()}")


class Watcher(threading.Thread):
    """One client of /v1/events through all lives: resumes after the last id that it has seen."""

    def __init__(self, daemon):
        super().__init__(daemon=True)
        self.daemon_ = daemon
        self.changed = threading.Condition()
        self.seen = {}  # seq: (job, type, data)
        self.last, self.lives = 0, 0
        self.ended = set()  # jobs
        self.problem, self.stopped = None, False

    def run(self):
        while not self.stopped and not self.problem:
            connection = UnixConnection(self.daemon_.socket, 90)
            headers = {"Accept": "text/event-stream"}
            if self.last:
                headers["Last-Event-ID"] = str(self.last)
            try:
                connection.request("GET", "/v1/events" + ("" if self.last else "?after=0"),
                                   headers=headers)
                answer = connection.getresponse()
                if answer.status == 200:
                    self.lives += 1
                    self.read(answer)
            except (OSError, http.client.HTTPException):
                pass
            except Exception as error:  # pylint: disable=broad-except
                self.problem = f"{type(error).__name__}: {error}"
            finally:
                connection.close()
            time.sleep(0.01)

    def read(self, stream):
        """An event counts when its blank line has come: what is cut off comes again."""
        event = {}
        while not self.stopped:
            line = stream.readline()
            if not line.endswith(b"\n"):
                return
            name, _, value = line.rstrip(b"\n").decode().partition(": ")
            if name:
                event[name] = value
                continue
            self.take(event)
            event = {}

    def take(self, event):
        kind = event.get("event")
        assert kind != "reset", f"the cursor {self.last} was refused"
        if "id" not in event:
            return
        seq, data = int(event["id"]), json.loads(event["data"])
        assert seq > self.last, f"event {seq} came after {self.last}"
        assert data["seq"] == seq and data["type"] == kind, event
        with self.changed:
            self.seen[seq] = (data["job"], kind, data["data"])
            self.last = seq
            if kind in ("job.succeeded", "job.failed", "job.cancelled"):
                self.ended.add(data["job"])
            self.changed.notify_all()

    def wait_for(self, kind, seconds):
        """Waits for the next event of this type. Return: did it come?"""
        with self.changed:
            first = self.last
            return self.changed.wait_for(
                lambda: any(self.seen[s][1] == kind for s in self.seen if s > first), seconds)
