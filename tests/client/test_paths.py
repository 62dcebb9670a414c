#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""How a request names models and texts that are paths from the current folder.

Usage: test_paths.py QUANTCTL
"""
import os
import subprocess
import sys
import tempfile

import fake

QUANTCTL = os.path.abspath(sys.argv[1])


def request(made, folder, model, *texts):
    """What is submitted from @folder, or the error."""
    made.posted.clear()
    done = subprocess.run(
        [QUANTCTL, "eval", model, "--eval", ",".join(texts), "--detach"], cwd=folder,
        capture_output=True, text=True, timeout=60, check=False,
        env={"PATH": os.environ["PATH"], "LC_ALL": "C.UTF-8", "QUANTD_SERVER": made.url,
             "HOME": folder})
    if done.returncode:
        assert not made.posted
        return done.returncode, done.stderr
    return made.posted[0]["model"], *made.posted[0]["eval"]


def check(made, home):
    models, texts, twin = (os.path.join(home, name) for name in ("models", "texts", "twin"))
    for path in (models + "/org/m", texts + "/sub", twin + "/sub", home + "/elsewhere"):
        os.makedirs(path)
    for path in (texts + "/sub/a.txt", texts + "/own.txt", twin + "/own.txt", texts + "/ptb",
                 texts + "/x#y", home + "/elsewhere/a.txt"):
        open(path, "w", encoding="utf-8").close()
    os.symlink(texts + "/sub/a.txt", home + "/elsewhere/link.txt")
    made.answers["/v1/status"] = 200, {**fake.STATUS, "roots": [
        {"kind": "model", "path": models, "readable": True},
        {"kind": "data", "path": texts, "readable": True},
        {"kind": "data", "path": twin, "readable": True}]}
    sub, outside = texts + "/sub", home + "/elsewhere"
    for folder, words, expected in (
            # below a root: the name that others use too
            (sub, ("m", "file:./a.txt", "file:a.txt", "a.txt", "./a.txt", "file:~/a.txt"),
             ("m", *["file:sub/a.txt"] * 5)),
            (models, ("org/m", "ptb"), ("org/m", "ptb")),
            (models + "/org", ("./m", "file:nowhere.txt"), ("org/m", "file:nowhere.txt")),
            (models + "/org", ("m", "ptb"), ("org/m", "ptb")),
            (models + "/org/m", (".", "ptb"), ("org/m", "ptb")),
            (models, (".", "ptb"), (models, "ptb")),
            # two roots have one of this name; the names of sets stay; a field is no path
            (texts, ("m", "file:own.txt", "ptb", "file:./x#y#z"),
             ("m", f"file:{texts}/own.txt", "ptb", "file:x#y#z")),
            # outside of the roots: what is named as a path is absolute
            (outside, ("m", "file:./a.txt", "file:a.txt", "file:link.txt"),
             ("m", f"file:{outside}/a.txt", "file:a.txt", "file:sub/a.txt"))):
        found = request(made, folder, *words)
        assert found == expected, (folder, words, found)
    status, said = request(made, sub, "./none", "ptb")
    assert status == 5 and "cannot find './none'" in said, said


def main():
    made = fake.Fake()
    made.jobs[1] = fake.job(1)
    with tempfile.TemporaryDirectory(prefix="quantctl-") as home:
        check(made, os.path.realpath(home))
    made.stop()


main()
