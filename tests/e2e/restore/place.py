# SPDX-License-Identifier: Apache-2.0
"""A daemon whose database is lost and comes back: its folders, and how it is started."""
import os
import subprocess
import sys
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "../.."))

import unix_http  # noqa: E402


def start(quantd, source, home):
    """quantd on the folders state, cache and texts of @home, once it answers at quantd.sock."""
    with open(home + "/log", "ab") as log:
        process = subprocess.Popen(
            [quantd, "--state-dir", home + "/state", "--cache-dir", home + "/cache", "--listen",
             f"unix:{home}/quantd.sock", "--device", "cpu", "--model-root", source + "/data",
             "--data-root", home + "/texts", "--disk-floor", "0"], stderr=log,
            env={**os.environ, "HF_HUB_OFFLINE": "1"})
    for _ in range(600):
        try:
            unix_http.ask(home + "/quantd.sock", "GET", "/v1/version")
            return process
        except OSError:
            time.sleep(0.05)
    process.kill()
    process.wait()
    with open(home + "/log", encoding="utf-8", errors="replace") as log:
        raise AssertionError(log.read())


def write_text(source, home, size):
    """texts/short.txt: the lines within the first @size bytes of the demo's text."""
    os.makedirs(home + "/texts")
    with open(source + "/data/texts/demo-calibration.txt", "rb") as whole:
        text = whole.read(size)
    with open(home + "/texts/short.txt", "wb") as short:
        short.write(text[:text.rindex(b"\n")])
