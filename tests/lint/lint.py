#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Holds the rules of docs/ARCHITECTURE.md and docs/STYLE.md, and the documents to the programs.

Usage: lint.py ROOT source|shape
       lint.py ROOT docs QUANTD QUANTCTL
Exit status: 0 all is well, 1 something is not, 77 what could be checked is well.
"""
import sys

import docs
import events
import manual
import shape
import source
from tree import Tree

EXIT_SKIP = 77


def main():
    tree, group = Tree(sys.argv[1]), sys.argv[2]
    skipped = None
    if group == "source":
        rules, skipped = source.rules()
        found = [finding for rule in rules for finding in rule(tree)]
    elif group == "shape":
        found = [finding for rule in shape.RULES for finding in rule(tree)]
    else:
        programs = docs.Programs(*sys.argv[3:5])
        found = [finding for rule in docs.RULES + manual.RULES
                 for finding in rule(tree, programs)]
        found += [finding for rule in events.RULES for finding in rule(tree)]
    for name, line, what in found:
        print(f"{name}:{line}: {what}")
    print(f"{len(tree.files)} files, {len(found)} findings")
    if found:
        return 1
    if skipped:
        print(skipped)
        return EXIT_SKIP
    return 0


if __name__ == "__main__":
    sys.exit(main())
