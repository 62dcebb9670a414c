# SPDX-License-Identifier: Apache-2.0
"""Screens of the quantctl that sys.argv[1] names, held to the files in golden/.

With --update in sys.argv the files are written anew.
"""
import difflib
import json
import os
import re
import subprocess
import sys

QUANTCTL = sys.argv[1]
GOLDEN = os.path.join(os.path.dirname(os.path.abspath(__file__)), "golden")
TIME = re.compile(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d UTC")
VERSION = re.compile(r"(?<![\d.])\d+\.\d+\.\d+(?![\d.])")
failures = []


def run(made, *words, width=80, **environment):
    known = {"PATH": os.environ["PATH"], "LC_ALL": "C.UTF-8", "COLUMNS": str(width),
             "QUANTD_SERVER": made.url if made else ""}
    return subprocess.run([QUANTCTL, *words], capture_output=True, text=True, encoding="utf-8",
                          timeout=120, check=False, env={**known, **environment})


def check(name, done, status=0):
    """The screen of a run is what the golden file says."""
    path = os.path.join(GOLDEN, name + ".txt")
    text = done.stdout + ("--- stderr\n" + done.stderr if done.stderr else "")
    text = VERSION.sub("VERSION", TIME.sub("TIME", text))
    bad = [c for c in done.stdout + done.stderr if not c.isprintable() and c != "\n"]
    if bad:
        failures.append(f"{name}: control characters {bad!r}")
    if done.returncode != status:
        failures.append(f"{name}: left with {done.returncode}, not {status}: {done.stderr}")
    if "--update" in sys.argv:
        with open(path, "w", encoding="utf-8") as file:
            file.write(text)
    with open(path, encoding="utf-8") as file:
        expected = file.read()
    if text != expected:
        failures.append("\n".join([f"{name}: not as before", *difflib.unified_diff(
            expected.splitlines(), text.splitlines(), "golden", "now", lineterm="")]))


def check_json(done, status=0):
    value = json.loads(done.stdout)
    assert done.returncode == status and done.stdout.isascii(), done
    return value


def finish():
    """Ends the program: 1 when a screen was not as its file."""
    for failure in failures:
        print(failure, file=sys.stderr)
    sys.exit(len(failures) > 0)
