#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""The browser library, on a small page from a server on loopback.

Exit status: 0 all is well, 77 there is no browser to drive.
"""
import http.server
import os
import struct
import sys
import threading

import webdriver
from webdriver import Browser, DriverError, Timeout

EXIT_SKIP = 77

PAGE = b"""<!doctype html><html lang="en"><title>A page</title>
<meta name="viewport" content="width=device-width">
<style>
  body { margin: 0; background: rgb(255, 255, 255) }
  @media (prefers-color-scheme: dark) { body { background: rgb(0, 0, 0) } }
  #tall { height: 3000px }
  #under { position: absolute; top: 500px } #over { position: absolute; top: 490px; width: 100%;
      height: 90px; background: red }
</style>
<h1>Title</h1>
<label for="name">Your name</label> <input id="name" value="old">
<button id="greet" aria-label="Say hello">go</button> <p id="answer"></p>
<button id="under">covered</button><div id="over"></div><div id="tall"></div>
<script>
  const answer = document.querySelector("#answer");
  document.querySelector("#greet").addEventListener("click", () => setTimeout(() => {
    answer.textContent = "hello " + document.querySelector("#name").value; }, 200));
  document.addEventListener("keydown", e => { document.body.dataset.key =
      (e.shiftKey ? "Shift+" : "") + e.key; });
</script>"""


class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        body = {"/": PAGE, "/data": b"42", "/favicon.ico": b""}.get(self.path)
        self.send_response(404 if body is None else 200)
        self.send_header("Content-Type", "text/html")
        self.send_header("Content-Security-Policy", "img-src 'self'")
        self.end_headers()
        self.wfile.write(body or b"nothing")

    def log_message(self, *_):
        pass


def check_page(page, url):
    page.open(url)
    assert page.title == "A page" and page.url == url, (page.title, page.url)
    assert page.find("h1").text == "Title" and page.find("h1").tag == "h1"
    assert len(page.find_all("button")) == 2 and page.has("#name") and not page.has("#nothing")
    assert page.find("body").find("#tall").rect["height"] == 3000
    try:
        page.find("#nothing")
        raise AssertionError("found what is not there")
    except DriverError as error:
        assert error.code == "no such element", error


def check_hands(page):
    field = page.find("#name")
    assert field.attribute("value") == "old" and field.shown and field.enabled
    field.fill("User")
    field.type("ArrowLeft", "m")
    assert field.prop("value") == "Usemr", field.prop("value")
    page.find("#greet").click()
    page.wait_until(lambda: page.find("#answer").text == "hello Usemr", "the greeting")
    page.press("Shift", "Tab")
    assert page.script("return document.body.dataset.key") == "Shift+Tab"
    assert page.focused.attribute("id") == "name", "Shift+Tab goes back"
    try:
        page.find("#under").click()
        raise AssertionError("clicked through what covers it")
    except DriverError as error:
        assert error.code == "element click intercepted", error


def check_ears(page):
    """What a screen reader reads."""
    assert (page.find("#greet").role, page.find("#greet").label) == ("button", "Say hello")
    assert page.find("#name").label == "Your name"


def check_scripts(page):
    assert page.script("return [arguments[0] + 1, {a: null}]", 41) == [42, {"a": None}]
    assert page.script("return arguments[0].id", page.find("#name")) == "name"
    assert page.script("return document.querySelector('h1')").text == "Title"
    assert page.script_async("const done = arguments[arguments.length - 1];"
                             "fetch('/data').then(r => r.text()).then(done)") == "42"
    try:
        page.script("throw new Error('on purpose')")
        raise AssertionError("an exception of the page was lost")
    except DriverError as error:
        assert error.code == "javascript error" and "on purpose" in str(error), error


def check_waiting(page):
    try:
        page.wait_until(lambda: page.find("#never"), "what never comes", seconds=0.3)
        raise AssertionError("waited for nothing")
    except Timeout as error:
        assert "what never comes" in str(error) and "no such element" in str(error), error


def size_of(png):
    assert png[:8] == b"\x89PNG\r\n\x1a\n", png[:8]
    return struct.unpack(">II", png[16:24])


def check_looks(page):
    background = "return getComputedStyle(document.body).backgroundColor"
    for scheme, colour in (("dark", "rgb(0, 0, 0)"), ("light", "rgb(255, 255, 255)")):
        page.media(scheme)
        assert page.script(background) == colour, scheme
    matches = "return matchMedia('(prefers-reduced-motion: reduce)').matches"
    assert not page.script(matches)
    page.media(reduced_motion=True)
    assert page.script(matches)
    page.phone()
    assert page.script("return [innerWidth, devicePixelRatio]") == [390, 2]
    assert size_of(page.screenshot()) == (780, 1688)
    page.screen(1000, 700)
    assert size_of(page.screenshot()) == (1000, 700)
    width, height = size_of(page.screenshot(os.path.join(page.home, "shot.png"), full=True))
    assert width == 1000 and height >= 3000, (width, height)
    assert os.path.getsize(os.path.join(page.home, "shot.png")) > 1000
    page.resize(800, 600)
    assert page.script("return outerWidth") == 800


def check_records(page, url):
    assert page.errors() == [], page.errors()
    assert url in page.requests() and url + "data" in page.requests(), page.requests()
    page.script("console.info('seen'); console.error('wrong')")
    page.script("const i = new Image(); i.src = 'http://192.0.2.1/x.png'; document.body.append(i)")
    page.wait_until(lambda: len(page.errors()) == 2, "the error, and the policy's refusal")
    assert "wrong" in page.errors()[0] and "Content Security Policy" in page.errors()[1]
    assert any("seen" in entry["message"] for entry in page.console())
    page.forget()
    assert page.errors() == [] and page.requests() == []


def check_network(page):
    """No name but localhost has an address; offline nothing has."""
    fetched = ("const done = arguments[1]; fetch(arguments[0], {mode: 'no-cors'})"
               ".then(() => done('came'), () => done('failed'))")
    assert page.script_async(fetched, "http://www.example.org/") == "failed"
    assert page.script_async(fetched, "/data") == "came"
    page.offline()
    assert page.script_async(fetched, "/data") == "failed"
    page.offline(False)
    assert page.script_async(fetched, "/data") == "came"


def check_teardown():
    """Nothing is left behind: after an exception, and when the driver died before."""
    for kill in (False, True):
        try:
            with Browser() as page:
                home = page.home
                assert webdriver.users_of(home), "the browser does not run"
                if kill:
                    page.driver.process.kill()
                raise KeyError("on purpose")
        except KeyError:
            pass
        assert not os.path.exists(home), home
        page.close()
        assert not webdriver.users_of(home), webdriver.users_of(home)


def main():
    reason = webdriver.missing()
    if reason:
        print("skipped:", reason)
        return EXIT_SKIP
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    url = f"http://127.0.0.1:{server.server_address[1]}/"
    with Browser(width=1000, height=700) as page:
        check_page(page, url)
        check_hands(page)
        check_ears(page)
        check_scripts(page)
        check_waiting(page)
        check_looks(page)
        check_records(page, url)
        check_network(page)
    check_teardown()
    server.shutdown()
    print("the browser does what is asked")
    return 0


if __name__ == "__main__":
    sys.exit(main())
