#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""The commands of README.md and docs/TUTORIAL.md as files for run.sh.

usage: commands.py SOURCE FOLDER

Each command of the blocks marked as sh goes into FOLDER/DOCUMENT/NNN.sh; one that cannot run on a
machine without a hub, a GPU or systemd into NNN.skip, with the reason.
"""
import os
import re
import subprocess
import sys

DOCUMENTS = ("README.md", "docs/TUTORIAL.md")

# Document, a pattern of commands, and why they are not run.
SKIPPED = [
    ("README.md", r"^quantctl quantize allenai/", "needs the hub"),
    ("README.md", r"^quantctl rm-model ", "nothing was fetched: needs the hub"),
    ("README.md", r"QUANTD_TOKEN=\.\.\.", "has a placeholder for the token"),
    ("docs/TUTORIAL.md", r"^vllm serve ", "needs a GPU and vLLM"),
    ("docs/TUTORIAL.md", r"127\.0\.0\.1:8000/", "asks vLLM"),
]

# Document, a pattern, what stands for it here, and why.
REPLACED = [
    ("README.md", r"^scripts/test(?= )", "scripts/test --suite unit", "all suites take too long"),
    ("README.md", r"\bUSER\b", "user", "stands for a name"),
    ("docs/TUTORIAL.md", r"allenai/OLMoE-1B-7B-0125-Instruct", "olmoe-demo", "needs the hub"),
    ("docs/TUTORIAL.md", r"--preset vllm", "--preset vllm --groupsize 64", "the demo's experts are 128 wide"),
    ("docs/TUTORIAL.md", r"--eval wikitext2", "--eval file:demo-evaluation.txt", "needs the hub"),
    ("docs/TUTORIAL.md", r"\bwikitext2\b", "file:demo-calibration.txt", "needs the hub"),
]


def is_complete(text):
    """Can a shell run it, or does the next line belong to it?"""
    if text.endswith("\\"):
        return False
    return subprocess.run(["bash", "-n"], input=text + "\n", text=True, check=False,
                          stderr=subprocess.DEVNULL).returncode == 0


def commands(path):
    fenced, command = False, ""
    with open(path, encoding="utf-8") as file:
        for line in file.read().splitlines():
            if line.startswith("```"):
                if command:
                    raise ValueError(f"{path}: a command has no end: {command}")
                fenced = line == "```sh"
                continue
            if not fenced or not (line.strip() or command):
                continue
            command += ("\n" if command else "") + line
            if is_complete(command):
                yield command
                command = ""


def main():
    source, folder = sys.argv[1:]
    used = set()
    for document in DOCUMENTS:
        target = os.path.join(folder, os.path.basename(document).removesuffix(".md"))
        os.makedirs(target)
        for number, command in enumerate(commands(os.path.join(source, document)), 1):
            reasons = []
            for rule in SKIPPED:
                if rule[0] == document and re.search(rule[1], command, re.M):
                    used.add(rule)
                    reasons.append(rule[2])
            for rule in REPLACED:
                if rule[0] == document and re.search(rule[1], command):
                    used.add(rule)
                    command = re.sub(rule[1], rule[2], command)
            base = f"{target}/{number:03}"
            with open(base + (".skip" if reasons else ".sh"), "w", encoding="utf-8") as file:
                file.write(command + "\n")
            if reasons:
                with open(base + ".why", "w", encoding="utf-8") as file:
                    file.write(reasons[0] + "\n")
    unused = [rule for rule in SKIPPED + REPLACED if rule not in used]
    for rule in unused:
        print(f"commands.py: no command of {rule[0]} has '{rule[1]}'", file=sys.stderr)
    return 1 if unused else 0


if __name__ == "__main__":
    sys.exit(main())
