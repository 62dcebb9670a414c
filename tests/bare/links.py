#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""The relative links of the documents below a folder that lead nowhere; none is what is wanted.

usage: links.py FOLDER
"""
import os
import re
import sys

LINK = re.compile(r"\]\(([^)#:\s]+)(?:#[^)]*)?\)")


def main():
    found = wrong = 0
    for folder, _, names in os.walk(sys.argv[1]):
        for name in names:
            if not name.endswith(".md"):
                continue
            path = os.path.join(folder, name)
            with open(path, encoding="utf-8") as file:
                for target in LINK.findall(file.read()):
                    found += 1
                    if not os.path.exists(os.path.join(folder, target)):
                        wrong += 1
                        print(f"{path}: nothing is at '{target}'")
    if not found:
        print(f"{sys.argv[1]}: no document has a link")
    return 1 if wrong or not found else 0


if __name__ == "__main__":
    sys.exit(main())
