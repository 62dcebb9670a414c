# SPDX-License-Identifier: Apache-2.0
"""Writes a C file that holds the migrations: embed.py OUTPUT MIGRATION..."""
import os
import re
import sys


def main():
    output, inputs = sys.argv[1], sys.argv[2:]
    lines = ["/* Generated from migrations/ by embed.py. */", '#include "migrations/migrations.h"', ""]
    rows = []
    for number, path in enumerate(inputs, 1):
        name = os.path.basename(path)
        if not re.fullmatch(r"%04d_[a-z0-9_]+\.sql" % number, name):
            sys.exit("migration %d is called '%s': expected %04d_NAME.sql" % (number, name, number))
        with open(path, "rb") as f:
            data = f.read() + b"\0"
        lines.append("static const char sql_%04d[] = {" % number)
        for i in range(0, len(data), 16):
            lines.append("    " + "".join("%d, " % b for b in data[i:i + 16]).rstrip())
        lines.append("};")
        rows.append('    {"%s", sql_%04d},' % (name, number))
    lines += ["", "const struct migration migrations[] = {"] + rows + ["};"]
    lines += ["const int n_migrations = %d;" % len(rows)]
    with open(output, "w") as f:
        f.write("\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
