# SPDX-License-Identifier: Apache-2.0
"""Drives headless Chromium by chromedriver, with nothing but Python's standard library.

    with Browser(width=1280, height=900) as page:
        page.open("http://127.0.0.1:7878/")
        page.find("#wbits").type("4")
        page.find("button[type=submit]").click()
        page.wait_until(lambda: "succeeded" in page.find("#status").text, "the job ends")
        assert page.errors() == []

The protocol is W3C WebDriver; what that lacks (media features, a phone's screen) goes by the DevTools
endpoint of chromedriver. The browser has a profile of its own, resolves no name but localhost, and is
gone with its profile when the block is left, however that happens. One thread uses a Browser.
"""
import base64
import contextlib
import http.client
import json
import os
import re
import shutil
import signal
import subprocess
import tempfile
import time

DRIVER = "chromedriver"
BROWSERS = ("chromium", "chromium-browser", "google-chrome")
ELEMENT = "element-6066-11e4-a52e-4f735466cecf"  # the key by which the protocol marks an element
START_SECONDS = 60
ANSWER_SECONDS = 120
WAIT_SECONDS = 60
POLL_SECONDS = 0.05

# Keys without a character, as the protocol encodes them.
KEYS = {
    "Backspace": "\ue003", "Tab": "\ue004", "Enter": "\ue007", "Shift": "\ue008",
    "Control": "\ue009", "Alt": "\ue00a", "Escape": "\ue00c", "Space": "\ue00d",
    "PageUp": "\ue00e", "PageDown": "\ue00f", "End": "\ue010", "Home": "\ue011",
    "ArrowLeft": "\ue012", "ArrowUp": "\ue013", "ArrowRight": "\ue014", "ArrowDown": "\ue015",
    "Delete": "\ue017",
}

# No request leaves the machine, nothing asks anything at the first start, pictures are repeatable.
ARGUMENTS = (
    "--headless=new", "--disable-dev-shm-usage", "--disable-gpu", "--hide-scrollbars",
    "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1, EXCLUDE localhost",
    "--no-proxy-server", "--disable-background-networking", "--disable-component-update",
    "--disable-default-apps", "--disable-extensions", "--disable-sync", "--no-first-run",
    "--no-default-browser-check", "--password-store=basic", "--force-color-profile=srgb",
    "--lang=en-US",
)


def missing():
    """Why no browser can be driven here, or None."""
    if not shutil.which(DRIVER):
        return "no chromedriver: apt-get install chromium-driver"
    if not browser_path():
        return "no chromium: apt-get install chromium"
    return None


def browser_path():
    return next(filter(None, map(shutil.which, BROWSERS)), None)


class DriverError(Exception):
    """What chromedriver answered: the protocol's error code, and its message."""

    def __init__(self, code, message):
        super().__init__(f"{code}: {message}")
        self.code = code


class Timeout(AssertionError):
    """A condition that did not come true."""


class Driver:
    """A chromedriver process on a port that the kernel chose."""

    def __init__(self, home):
        environment = {**os.environ, "HOME": home, "XDG_CONFIG_HOME": home, "XDG_CACHE_HOME": home,
                       "TMPDIR": home, "LC_ALL": "C.UTF-8"}
        self.output = os.path.join(home, "chromedriver.out")
        with open(self.output, "wb") as output:
            self.process = subprocess.Popen(
                [DRIVER, "--port=0"], stdin=subprocess.DEVNULL, stdout=output,
                stderr=subprocess.STDOUT, env=environment)
        try:
            self.connection = http.client.HTTPConnection("127.0.0.1", self._port(),
                                                         timeout=ANSWER_SECONDS)
        except BaseException:
            self.stop()
            raise

    def _port(self):
        """The port that it prints."""
        end = time.monotonic() + START_SECONDS
        while True:
            ended = self.process.poll() is not None or time.monotonic() > end
            with open(self.output, encoding="utf-8", errors="replace") as output:
                text = output.read()
            found = re.search(r"started successfully on port (\d+)\.", text)
            if found:
                return int(found[1])
            if ended:
                raise DriverError("driver not started", text)
            time.sleep(POLL_SECONDS)

    def request(self, method, path, body=None):
        """The `value` of the answer. Raises DriverError."""
        data = None if body is None else json.dumps(body)
        self.connection.request(method, path, data, {"Content-Type": "application/json"})
        answer = self.connection.getresponse()
        value = json.loads(answer.read())["value"]
        if answer.status != 200:
            raise DriverError(value["error"], value["message"])
        return value

    def stop(self):
        self.process.terminate()
        try:
            self.process.wait(timeout=10)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()


class Element:
    """An element of the page, as long as the page has it: then "stale element reference"."""

    def __init__(self, browser, key):
        self._browser = browser
        self.key = key

    def _request(self, method, path, body=None):
        return self._browser.request(method, f"/element/{self.key}{path}", body)

    def find(self, css):
        return Element(self._browser, self._request("POST", "/element", selector(css))[ELEMENT])

    def find_all(self, css):
        return [Element(self._browser, found[ELEMENT])
                for found in self._request("POST", "/elements", selector(css))]

    def click(self):
        """As a person would: scrolls there, and fails when something covers it."""
        self._request("POST", "/click", {})

    def clear(self):
        self._request("POST", "/clear", {})

    def type(self, *parts):
        """Characters, and names of KEYS as they are."""
        self._request("POST", "/value", {"text": "".join(KEYS.get(part, part) for part in parts)})

    def fill(self, text):
        """Replaces what a field holds."""
        self.clear()
        self.type(text)

    def attribute(self, name):
        return self._request("GET", f"/attribute/{name}")

    def prop(self, name):
        """A property of the DOM, as it is now: "value", "checked"."""
        return self._request("GET", f"/property/{name}")

    def css(self, name):
        """The computed value of a CSS property."""
        return self._request("GET", f"/css/{name}")

    @property
    def text(self):
        """What a reader sees of it."""
        return self._request("GET", "/text")

    @property
    def tag(self):
        return self._request("GET", "/name")

    @property
    def role(self):
        """What a screen reader takes it for."""
        return self._request("GET", "/computedrole")

    @property
    def label(self):
        """What a screen reader calls it."""
        return self._request("GET", "/computedlabel")

    @property
    def shown(self):
        return self._request("GET", "/displayed")

    @property
    def enabled(self):
        return self._request("GET", "/enabled")

    @property
    def rect(self):
        """{x, y, width, height} in CSS pixels."""
        return self._request("GET", "/rect")


def selector(css):
    return {"using": "css selector", "value": css}


class Browser:
    """One window of a browser of its own."""

    def __init__(self, width=1280, height=900):
        reason = missing()
        if reason:
            raise DriverError("no browser", reason)
        self._console, self._requests = [], []
        self.session, self.driver = None, None
        self.home = tempfile.mkdtemp(prefix="browser-")
        try:
            self.driver = Driver(self.home)
            self.session = self._open_session(width, height)["sessionId"]
            self.request("POST", "/timeouts", {"script": 60000, "pageLoad": 60000, "implicit": 0})
        except BaseException:
            self.close()
            raise

    def _open_session(self, width, height):
        arguments = [*ARGUMENTS, f"--window-size={width},{height}",
                     "--user-data-dir=" + os.path.join(self.home, "profile")]
        if os.geteuid() == 0:
            arguments.append("--no-sandbox")
        always = {
            "browserName": "chrome",
            "goog:chromeOptions": {"binary": browser_path(), "args": arguments},
            "goog:loggingPrefs": {"browser": "ALL", "performance": "ALL"},
        }
        return self.driver.request("POST", "/session", {"capabilities": {"alwaysMatch": always}})

    def __enter__(self):
        return self

    def __exit__(self, kind, error, trace):
        self.close()

    def close(self):
        """Ends the session, the driver and whatever is left of the browser. Once more is harmless."""
        try:
            if self.session:
                self.request("DELETE", "")
        except (DriverError, OSError, http.client.HTTPException, ValueError):
            pass  # it may be what failed: the rest has to go all the same
        self.session = None
        if self.driver:
            self.driver.stop()
            self.driver = None
        kill_users_of(self.home)
        shutil.rmtree(self.home, ignore_errors=True)

    def request(self, method, path, body=None):
        """A command of the protocol, for what has no method here."""
        return self.driver.request(method, f"/session/{self.session}{path}", body)

    def cdp(self, command, **parameters):
        """A command of the DevTools protocol."""
        return self.request("POST", "/goog/cdp/execute", {"cmd": command, "params": parameters})

    # Where the page is

    def open(self, url):
        self.request("POST", "/url", {"url": url})

    def reload(self):
        self.request("POST", "/refresh", {})

    def back(self):
        self.request("POST", "/back", {})

    @property
    def url(self):
        return self.request("GET", "/url")

    @property
    def title(self):
        return self.request("GET", "/title")

    # What is on it

    def find(self, css):
        """The first element, or "no such element"."""
        return Element(self, self.request("POST", "/element", selector(css))[ELEMENT])

    def find_all(self, css):
        return [Element(self, found[ELEMENT])
                for found in self.request("POST", "/elements", selector(css))]

    def has(self, css):
        return bool(self.find_all(css))

    @property
    def focused(self):
        """The element that has the keyboard."""
        return Element(self, self.request("GET", "/element/active")[ELEMENT])

    def press(self, *keys):
        """Presses keys at once, and lets them go: press("Shift", "Tab"), press("j")."""
        codes = [KEYS.get(key, key) for key in keys]
        actions = [{"type": "keyDown", "value": code} for code in codes]
        actions += [{"type": "keyUp", "value": code} for code in reversed(codes)]
        self.request("POST", "/actions",
                     {"actions": [{"type": "key", "id": "keyboard", "actions": actions}]})

    def hover(self, element, x=0, y=0):
        """Moves the mouse to an element's middle, plus x and y CSS pixels."""
        move = {"type": "pointerMove", "duration": 0, "x": x, "y": y,
                "origin": {ELEMENT: element.key}}
        self.request("POST", "/actions",
                     {"actions": [{"type": "pointer", "id": "mouse", "actions": [move]}]})

    def script(self, text, *arguments):
        """Runs the body of a function; its `return` comes back. Elements go in and come out."""
        return self._script("sync", text, arguments)

    def script_async(self, text, *arguments):
        """The same, for a function that calls its last argument with what comes back."""
        return self._script("async", text, arguments)

    def _script(self, kind, text, arguments):
        values = [{ELEMENT: value.key} if isinstance(value, Element) else value
                  for value in arguments]
        return self._elements(self.request("POST", "/execute/" + kind,
                                           {"script": text, "args": values}))

    def _elements(self, value):
        if isinstance(value, list):
            return [self._elements(entry) for entry in value]
        if isinstance(value, dict):
            if ELEMENT in value:
                return Element(self, value[ELEMENT])
            return {name: self._elements(entry) for name, entry in value.items()}
        return value

    def wait_until(self, condition, what, seconds=WAIT_SECONDS):
        """What condition() gives as soon as that is true. An element that is not there yet, or that
        the page replaced meanwhile, counts as false."""
        end, error = time.monotonic() + seconds, None
        while True:
            try:
                value = condition()
                if value:
                    return value
                error = None
            except DriverError as failed:
                if failed.code not in ("no such element", "stale element reference",
                                       "element click intercepted", "element not interactable"):
                    raise
                error = failed
            if time.monotonic() > end:
                raise Timeout(f"not within {seconds} s: {what}" + (f" ({error})" if error else ""))
            time.sleep(POLL_SECONDS)

    # How it looks

    def resize(self, width, height):
        """The window, as on a desk. It does not become narrower than some 500 pixels."""
        self.cdp("Emulation.clearDeviceMetricsOverride")
        self.request("POST", "/window/rect", {"width": width, "height": height})

    def screen(self, width, height, scale=1, mobile=False):
        """The page's view, exactly, in CSS pixels; mobile with a phone's layout."""
        self.cdp("Emulation.setDeviceMetricsOverride", width=width, height=height,
                 deviceScaleFactor=scale, mobile=mobile)

    def phone(self, width=390, height=844, scale=2):
        self.screen(width, height, scale, mobile=True)

    def media(self, scheme="light", reduced_motion=False):
        """What the page's media queries find: scheme is "light" or "dark"."""
        self.cdp("Emulation.setEmulatedMedia", features=[
            {"name": "prefers-color-scheme", "value": scheme},
            {"name": "prefers-reduced-motion",
             "value": "reduce" if reduced_motion else "no-preference"}])

    def offline(self, really=True):
        """Whether requests of the page fail."""
        self.cdp("Network.emulateNetworkConditions", offline=really, latency=0,
                 downloadThroughput=-1, uploadThroughput=-1)

    def screenshot(self, path=None, full=False):
        """PNG bytes of the view, or of the full page; written to a file when it is named."""
        shot = self.cdp("Page.captureScreenshot", format="png", captureBeyondViewport=full,
                        **({"clip": self._whole()} if full else {}))["data"]
        image = base64.b64decode(shot)
        if path:
            with open(path, "wb") as file:
                file.write(image)
        return image

    def _whole(self):
        size = self.cdp("Page.getLayoutMetrics")["cssContentSize"]
        return {"x": 0, "y": 0, "width": size["width"], "height": size["height"], "scale": 1}

    # What it did

    def console(self):
        """All entries of the console so far: {level, source, message}. What a policy or the network
        refused is there too."""
        self._console += self.request("POST", "/se/log", {"type": "browser"})
        return list(self._console)

    def errors(self):
        """Messages of the console that an owner of the page has to look at."""
        return [entry["message"] for entry in self.console()
                if entry["level"] in ("SEVERE", "WARNING")]

    def requests(self):
        """The address of each request so far, by the page and for it."""
        for entry in self.request("POST", "/se/log", {"type": "performance"}):
            event = json.loads(entry["message"])["message"]
            if event["method"] == "Network.requestWillBeSent":
                self._requests.append(event["params"]["request"]["url"])
        return list(self._requests)

    def forget(self):
        """Console and requests begin anew."""
        self.console()
        self.requests()
        self._console, self._requests = [], []


def users_of(folder):
    """The processes, but this one, whose command line names a folder."""
    found = []
    for pid in filter(str.isdigit, os.listdir("/proc")):
        try:
            with open(f"/proc/{pid}/cmdline", "rb") as file:
                if os.fsencode(folder) in file.read() and int(pid) != os.getpid():
                    found.append(int(pid))
        except OSError:
            pass  # gone, or another process's
    return found


def kill_users_of(folder):
    """Ends a browser that lost its driver, and waits until its processes are gone."""
    end = time.monotonic() + WAIT_SECONDS
    while (pids := users_of(folder)) and time.monotonic() < end:
        for pid in pids:
            with contextlib.suppress(OSError):
                os.kill(pid, signal.SIGKILL)
        time.sleep(POLL_SECONDS)
