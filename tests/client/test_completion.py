#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""What bash and zsh offer is what quantctl knows.

Usage: test_completion.py QUANTCTL SOURCE bash|zsh. Exits with 77 where there is no such shell.
"""
import json
import os
import re
import shutil
import subprocess
import sys
import time

import fake

QUANTCTL, SOURCE, SHELL = sys.argv[1:4]
HERE = os.path.dirname(os.path.abspath(__file__))
SCRIPT = os.path.join(SOURCE, "client/completions",
                      {"bash": "quantctl.bash", "zsh": "_quantctl"}[SHELL])
OPTION = re.compile(r"^  --([a-z-]+)(?: ([^ \n]+))?", re.MULTILINE)


def offered(server, *words):
    command = {"bash": ["bash", "--norc"], "zsh": ["zsh", "-f"]}[SHELL]
    done = subprocess.run(
        [*command, f"{HERE}/completion.{SHELL}", SCRIPT, "quantctl", *words], text=True,
        capture_output=True, timeout=60, check=False, stdin=subprocess.DEVNULL,
        env={"PATH": os.path.dirname(QUANTCTL) + ":" + os.environ["PATH"], "LC_ALL": "C.UTF-8",
             "QUANTD_SERVER": server, "HOME": "/nonexistent"})
    assert done.stderr == "", (words, done.stderr)
    # zsh itself leaves out what does not begin as the word does
    word = words[-1].rsplit("=")[-1].rsplit(",")[-1].rsplit(":")[-1] if SHELL == "zsh" else ""
    return [line for line in done.stdout.splitlines() if line and line.startswith(word)]


def help_text(*verb):
    return subprocess.run([QUANTCTL, "help", *verb], capture_output=True, text=True,
                          check=True).stdout


def check_table():
    """Each verb and each option; each verb that takes words has a rule, and no rule is left over."""
    verbs = re.findall(r"^  ([a-z][a-z-]*)\b", help_text(), re.MULTILINE)
    assert offered("", "") == verbs, offered("", "")
    with open(SCRIPT, encoding="utf-8") as file:
        script = file.read()
    known = set()
    for name in verbs:
        text = help_text() if name == "help" else help_text(name)
        options = OPTION.findall(text)
        known.update("--" + option for option, _ in options)
        got = sorted(offered("", name, "--"))
        if name != "help":
            assert got == sorted("--" + option for option, _ in options), (name, got)
        takes_words = re.match(rf"usage: quantctl {name} (?!\[OPTION)", text)
        has_rule = re.search(rf"[ |]{name}:[1*]", script)
        assert bool(has_rule) or not takes_words, f"no rule for the words of '{name}'"
        for option, value in options:
            if "|" in value:
                assert offered("", name, "--" + option, "") == value.split("|"), option
    for option in set(re.findall(r"^ +(--[a-z-]+)\)", script, re.MULTILINE)):
        assert option in known, f"a rule for '{option}', which is no option"
    for name in set(re.findall(r"[ |]([a-z][a-z-]*):[1-9*]", script)):
        assert name in verbs, f"a rule for '{name}', which is no verb"


def check_values():
    with open(os.path.join(SOURCE, "api/openapi.json"), encoding="utf-8") as file:
        schemas = json.load(file)["components"]["schemas"]
    assert offered("", "list", "--status", "") == schemas["Status"]["enum"]
    assert offered("", "quantize", "m", "w") == ["wikitext2"]
    assert offered("", "eval", "m", "--eval", "c4-") == ["c4-new"]
    assert offered("", "help", "canc") == ["cancel"]


def check_jobs():
    made = fake.Fake()
    for number, status in enumerate(("succeeded", "failed", "cancelled", "running", "queued"), 1):
        made.jobs[number] = fake.job(number, status=status, name="a:b " + fake.HOSTILE)
    for words, ids in ((["show", ""], "54321"), (["watch", ""], "54"), (["cancel", ""], "54"),
                       (["retry", ""], "32"), (["delete", ""], "321"), (["download", ""], "1"),
                       (["compare", "1", ""], "54321"), (["hold", ""], "5"), (["prio", "5", ""], "5")):
        assert offered(made.url, *words) == list(ids), (words, offered(made.url, *words))
    made.answers["/v1/groups?limit=100"] = 200, {"object": "list", "has_more": False, "data": [
        {"id": 2, "status": "running", "varies": ["wbits"]}, {"id": 1, "status": "failed"}]}
    for words, groups in ((["show", "gr"], "21"), (["wait", "gr"], "2"), (["delete", "gr"], "1"),
                          (["release", "5", "gr"], "2"), (["prio", "5", "gr"], "2"),
                          (["eval", "olmoe-demo", "gr"], "21")):
        got = [word.rpartition(":")[2] for word in offered(made.url, *words)]
        assert got == list(groups), (words, got)
    del made.answers["/v1/groups?limit=100"]
    assert offered(made.url, "eval", "al") == ["allenai/olmoe", "allenai/other"]
    assert offered(made.url, "eval", "olm") == ["olmoe-demo"]
    assert offered(made.url, "rm-model", "") == ["allenai/olmoe", "allenai/other", "org/half"]
    # bash takes ':' for the end of a word, and offers what follows it
    texts = offered(made.url, "quantize", "m", "file:" if SHELL == "zsh" else "file")
    assert {"a.txt", "b/c.jsonl"} <= {text.rpartition(":")[2] for text in texts}, texts
    # a server that is named on the line is the one that is asked
    assert offered("http://127.0.0.1:1", "--server", made.url, "retry", "") == ["3", "2"]
    made.stop()
    began = time.monotonic()
    assert offered("http://127.0.0.1:1", "show", "") == []
    assert time.monotonic() - began < 30


def main():
    if not shutil.which(SHELL) or not os.path.exists(
            {"bash": "/usr/share/bash-completion/bash_completion"}.get(SHELL, "/")):
        print(f"there is no {SHELL} with its completion")
        sys.exit(77)
    if SHELL == "zsh":
        subprocess.run(["zsh", "-n", SCRIPT], check=True)
    check_table()
    check_values()
    check_jobs()


main()
