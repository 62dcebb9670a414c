#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Model cards: read as a hub reads them, and their lines of Python run as they stand.

Usage: cards.py CHECKPOINT ...

README.md is loaded by ModelCard of huggingface_hub, and each block of Python is run in the folder of
the checkpoint by the same interpreter, unless that lacks its module. So run it by the python of a
virtual environment that a script beside this one has made. The exit status is 1 when a block fails
or none was run. No suite runs it.
"""
import importlib.util
import os
import re
import subprocess
import sys

from huggingface_hub import ModelCard

SHOWN = ("base_model", "base_model_relation", "license", "library_name", "pipeline_tag", "tags")


def run(block, folder):
    """"ran", or why it did not."""
    module = re.search(r"^(?:from|import) (\w+)", block, re.MULTILINE).group(1)
    if not importlib.util.find_spec(module):
        return f"no {module} here"
    done = subprocess.run([sys.executable, "-c", block], cwd=folder, capture_output=True, text=True,
                          check=False)
    return f"FAILED: {done.stderr[-500:]}" if done.returncode else "ran"


def main():
    if len(sys.argv) < 2:
        sys.exit(__doc__)
    results = []
    for folder in sys.argv[1:]:
        card = ModelCard.load(os.path.join(folder, "README.md"))
        head = card.data.to_dict()
        print(f"{folder}: " + ", ".join(f"{key} {head[key]}" for key in SHOWN if key in head))
        for block in re.findall(r"^```python\n(.*?)^```", card.text, re.MULTILINE | re.DOTALL):
            results.append(run(block, folder))
            print(f"    {block.splitlines()[0]} ...: {results[-1]}", flush=True)
    sys.exit(any(one.startswith("FAILED") for one in results) or "ran" not in results)


main()
