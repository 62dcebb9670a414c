# SPDX-License-Identifier: Apache-2.0
"""A daemon and its page, for tests of the dashboard."""
import contextlib
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import tempfile
import time
import urllib.error
import urllib.request

import webdriver

HERE = os.path.dirname(os.path.abspath(__file__))
TEXT = "file:short.txt"
EXIT_SKIP = 77


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


class Daemon:
    """quantd on a state folder and a port that outlive it."""

    def __init__(self, quantd, quantctl, source, home):
        self.programs = quantd, quantctl
        self.source = source
        self.home = home
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}/"
        self.process = None
        self.start()

    def start(self):
        with open(self.home + "/log", "ab") as log:
            self.process = subprocess.Popen(
                [self.programs[0], "--owner-jobs", "0", "--state-dir", self.home + "/state",
                 "--cache-dir", self.home + "/cache",
                 "--listen", f"127.0.0.1:{self.port}", "--listen", f"unix:{self.home}/quantd.sock",
                 "--device", "cpu", "--model-root", self.source + "/data", "--data-root",
                 self.home + "/texts"], stderr=log, env={**os.environ, "HF_HUB_OFFLINE": "1"})
        end = time.monotonic() + 60
        while time.monotonic() < end:
            with contextlib.suppress(OSError):
                urllib.request.urlopen(self.url + "healthz", timeout=10).close()
                return
            time.sleep(0.05)
        raise AssertionError("quantd does not answer: " + self.log())

    def kill(self):
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()

    def log(self):
        with open(self.home + "/log", encoding="utf-8") as log:
            return log.read()[-2000:]

    def ask(self, path, body=None, **headers):
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(self.url + path, data, {
            "Content-Type": "application/json", "Accept": "application/json", **headers})
        with urllib.request.urlopen(request, timeout=60) as answer:
            return json.load(answer)

    def streams(self):
        """How many event streams are open."""
        with urllib.request.urlopen(self.url + "metrics", timeout=60) as answer:
            return int(re.search(rb"^quantd_sse_streams (\d+)", answer.read(), re.M)[1])

    def submit(self, **more):
        return self.ask("v1/jobs", {"model": "olmoe-demo", "dataset": TEXT, "eval": TEXT, "wbits": 4,
                                    "nsamples": 4, "seqlen": 128, **more})["id"]

    def quantctl(self, *arguments):
        """What quantctl prints; on the unix socket, as the user of the test."""
        return subprocess.run([self.programs[1], "--server", f"unix:{self.home}/quantd.sock", *arguments],
                              capture_output=True, text=True, timeout=120, check=True).stdout

    def wait_for(self, job, status, seconds=120):
        end = time.monotonic() + seconds
        while (found := self.ask(f"v1/jobs/{job}"))["status"] != status:
            assert time.monotonic() < end, f"job {job} is {found['status']}, not {status}"
            time.sleep(0.05)


class Dashboard:
    """The page, and what a person does with it."""

    def __init__(self, page, daemon):
        self.page = page
        self.daemon = daemon

    def open(self, view=""):
        """A view, from nothing."""
        self.page.open("about:blank")
        self.page.open(self.daemon.url + view)
        self.see("h1", "" if view else "Jobs")

    def see(self, css, text="", seconds=60):
        """The element, as soon as it is there, can be seen, and has the text."""
        def found():
            for element in self.page.find_all(css):
                if element.shown and text in element.text:
                    return element
            return None
        return self.page.wait_until(found, f"'{text}' in {css}", seconds)

    def gone(self, css):
        self.page.wait_until(lambda: not any(e.shown for e in self.page.find_all(css)), f"no {css}")

    def press(self, text):
        """A button or link by its text."""
        def pressed():
            for element in self.page.script(
                    "return [...document.querySelectorAll('main button, main a, dialog button')]"
                    ".filter((e) => e.innerText?.trim() === arguments[0])", text):
                if element.shown and element.enabled:
                    element.click()
                    return True
            return False
        self.page.wait_until(pressed, f"the button '{text}'")

    def choose(self, css, value):
        # what lies under the bar at the foot of a form counts as seen, and is not scrolled to
        self.page.script("arguments[0].scrollIntoView({block: 'center'})", self.page.find(css))
        self.page.find(css).click()
        self.page.script("arguments[0].value = arguments[1];"
                         "arguments[0].dispatchEvent(new Event('input', {bubbles: true}));"
                         "arguments[0].dispatchEvent(new Event('change', {bubbles: true}))",
                         self.page.find(css), value)
        self.page.press("Escape")

    def job(self):
        """The number of the job that is shown."""
        return int(self.page.wait_until(
            lambda: self.page.url.partition("#/jobs/")[2].partition("?")[0], "the page of a job"))

    def quiet(self, *allowed):
        """No error so far, but what the network said while the daemon was away or refused."""
        for entry in self.page.console():
            expected = entry["source"] == "network" and any(a in entry["message"] for a in allowed)
            assert entry["level"] not in ("SEVERE", "WARNING") or expected, entry
        for url in self.page.requests():
            assert url.startswith((self.daemon.url, "about:", "blob:", "data:")), url
        self.page.forget()

    def accessible(self, what):
        with open(HERE + "/access.js", encoding="utf-8") as file:
            check = file.read()
        wrong = self.page.script(check)
        assert not wrong, f"{what}: " + "; ".join(wrong)


def walk(daemon, size, run):
    """run() of a board in a new browser of @size; a picture of what was seen when it fails."""
    with webdriver.Browser(*size) as page:
        page.media("light", reduced_motion=True)
        page.screen(*size)
        page.open("about:blank")
        page.forget()  # what the browser shows of its own at first
        try:
            run(Dashboard(page, daemon))
        except BaseException:
            print("at", page.url, page.console()[-5:])
            page.screenshot("/tmp/dashboard-failed.png")
            raise


def main(quantd, quantctl, source, size, run, prepare=None):
    """Runs a test, run(board), in a folder that prepare(home) may fill. Return: its exit status."""
    reason = webdriver.missing()
    if reason:
        print("skipped:", reason)
        return EXIT_SKIP
    home = tempfile.mkdtemp(prefix="quantd-dashboard-")
    os.makedirs(home + "/texts")
    with open(source + "/data/texts/demo-calibration.txt", "rb") as whole, \
            open(home + "/texts/short.txt", "wb") as text:
        text.write(whole.read(60000).rpartition(b"\n")[0])
    daemon = Daemon(quantd, quantctl, source, home)
    try:
        try:
            urllib.request.urlopen(daemon.url + "assets/main.js").close()
        except urllib.error.HTTPError:
            print("skipped: quantd is built without the dashboard")
            return EXIT_SKIP
        if prepare:
            daemon.kill()
            prepare(home)
            daemon.start()
        walk(daemon, size, run)
    finally:
        daemon.kill()
        shutil.rmtree(home, ignore_errors=True)
    print("the dashboard does what it is there for")
    return 0
