# SPDX-License-Identifier: Apache-2.0
"""Rules that hold the manual to what it describes. Each yields (file, line, what is wrong)."""
import json
import os
import re
import shutil
import subprocess

CONF = "docs/man/quantd.conf.5"
API = "docs/man/quantd-api.7"
# Flags that are no keys.
FLAGS_ONLY = {"config", "check-config", "check-cluster", "version", "help"}
AT_ONCE = re.compile(r"[Cc]hanges\s+at\s+once")


def plain(text):
    """A page without fonts and escapes."""
    text = text.replace("\\-", "-").replace("\\e", "\\")
    return re.sub(r"\\f[A-Z]", "", text)


def keys(tree):
    """key: its text in the section KEYS."""
    text = plain(tree.text(CONF)).split(".SH KEYS")[-1].split(".SH ")[0]
    parts = re.split(r'^\.TP\n\.BI "([a-z-]+) = ".*\n', text, flags=re.MULTILINE)
    return dict(zip(parts[1::2], parts[2::2]))


def check_keys(tree, programs):
    if not tree.has(CONF):
        yield CONF, 1, "is missing"
        return
    found = set(keys(tree))
    for key in sorted(programs.quantd - FLAGS_ONLY - found):
        yield CONF, 1, f"does not know '{key}', an option of quantd --help"
    for key in sorted(found - (programs.quantd - FLAGS_ONLY)):
        yield CONF, 1, f"knows '{key}', which quantd does not"


def check_at_once(tree, _programs):
    """What the page says changes at once is what daemon/reload.c has a setter for."""
    if not tree.has(CONF) or not tree.has("daemon/reload.c"):
        return
    live = set(re.findall(r'\{"([a-z-]+)", set_', tree.text("daemon/reload.c")))
    found = {key for key, text in keys(tree).items() if AT_ONCE.search(text)}
    for key in sorted(live ^ found):
        yield CONF, 1, f"'{key}' changes at once {'in reload.c' if key in live else 'here'} only"


def section(tree, name):
    """A section of quantd-api(7)."""
    text = plain(tree.text(API)) if tree.has(API) else ""
    return text.split(".SH " + name)[-1].split(".SH ")[0]


def check_operations(tree, _programs):
    """quantd-api(7) has a paragraph for each operation of openapi.json."""
    if not tree.has(API):
        yield API, 1, "is missing"
        return
    found = set(re.findall(r'^\.BI "([A-Z]+ /\S*)"$', plain(tree.text(API)), re.MULTILINE))
    paths = json.loads(tree.text("api/openapi.json"))["paths"]
    known = {f"{method.upper()} {path}" for path, operations in paths.items()
             for method in operations}
    for operation in sorted(known ^ found):
        yield API, 1, f"'{operation}' is only {'here' if operation in found else 'in openapi.json'}"


def check_codes(tree, _programs):
    """A code of an error that the page names is one that a source names."""
    sources = "".join(tree.text(name) for name in tree.files
                      if name.startswith(("daemon/", "api/", "base/")) and name.endswith(".c"))
    for code in sorted(set(re.findall(r"\b[a-z]+_[a-z_]+\b", section(tree, "ERRORS"))) - {"request_id"}):
        if f'"{code}"' not in sources:
            yield API, 1, f"no source gives the error '{code}'"


def check_roff(tree, _programs):
    """groff has nothing to say about a page, at the width of a narrow terminal."""
    if not shutil.which("groff"):
        return
    for name in tree.with_suffix(".1", ".5", ".7", ".8"):
        done = subprocess.run(
            ["groff", "-t", "-man", "-Tutf8", "-ww", "-rLL=80n", tree.path(name)],
            capture_output=True, text=True, errors="replace", check=False)
        for line in done.stderr.splitlines()[:3]:
            yield name, 1, line.replace(tree.root + os.sep, "")


RULES = [check_keys, check_at_once, check_operations, check_codes, check_roff]
