# SPDX-License-Identifier: Apache-2.0
"""Write the files of the dashboard as a C table: embed.py TARGET FILE...

A file below this folder keeps its path from here as its name, another one has its last part.
"""
import gzip
import hashlib
import os
import sys

TYPES = {
    ".html": "text/html; charset=utf-8", ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8", ".svg": "image/svg+xml",
}


def array(name, data):
    """@data as a C array; never empty, which C would not have."""
    numbers = [str(b if b < 128 else b - 256) for b in data] or ["0"]
    lines = "".join(f"    {', '.join(numbers[i:i + 20])},\n" for i in range(0, len(numbers), 20))
    return f"static const char {name}[] = {{\n{lines}}};\n"


def name_of(source):
    name = os.path.relpath(source, os.path.dirname(os.path.abspath(__file__)))
    return os.path.basename(source) if name.startswith("..") else name


def main(target, sources):
    arrays, rows = [], []
    for i, source in enumerate(sorted(sources, key=name_of)):
        with open(source, "rb") as f:
            data = f.read()
        packed = gzip.compress(data, mtime=0)
        tag = hashlib.sha256(data).hexdigest()[:32]
        name = name_of(source)
        arrays += [array(f"data_{i}", data), array(f"packed_{i}", packed)]
        rows.append(f'    {{"{name}", "{TYPES[os.path.splitext(name)[1]]}", "\\"{tag}\\"", '
                    f'"\\"{tag}-gzip\\"", data_{i}, {len(data)}, packed_{i}, {len(packed)}}},\n')
    with open(target, "w", encoding="ascii") as f:
        f.write('#include "api/dashboard/assets.h"\n\n' + "".join(arrays) + "\n")
        if rows:
            f.write(f"const struct asset assets[] = {{\n{''.join(rows)}}};\n")
        else:
            f.write("const struct asset assets[1];\n")
        f.write(f"const size_t n_assets = {len(rows)};\n")


main(sys.argv[1], sys.argv[2:])
