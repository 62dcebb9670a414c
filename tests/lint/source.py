# SPDX-License-Identifier: Apache-2.0
"""Rules on source files. Each yields (file, line, what is wrong)."""
import os
import re
import shutil
import subprocess

C_SUFFIXES = (".c", ".h", ".cu", ".cuh")
CODE_SUFFIXES = C_SUFFIXES + (".py", ".sh", ".sql", ".build", ".1", ".5", ".7", ".8", ".service",
                              ".socket", ".conf", ".js", ".css")

# A line of Markdown that cannot be broken: one link, or one word.
ONE_LINK = re.compile(r"\s*(\W*!?\[[^]]*\]\([^)]*\)\S*|\S+)$")

FILE_LINES_MAX = 500
FUNCTION_LINES_MAX = 60

# What may be longer, and why.
LONG_FILES = {
    "tests/unit/model/test_checkpoint.c": "one case of damage after the other",
}
LONG_FUNCTIONS = set()

# folder: what it may include, as prefixes; "!" before a prefix: not that. The longest folder that
# fits a file counts.
LAYERS = {
    "base/": ["base/"],
    "kernels/": ["base/", "kernels/"],
    "daemon/model/": ["base/", "daemon/model/", "kernels/backend.h"],
    "daemon/data/": ["base/", "daemon/data/", "!daemon/data/hub/"],
    "daemon/data/text/": ["base/", "daemon/data/text/"],
    "daemon/data/hub/": ["base/", "daemon/data/hub/", "daemon/data/catalog.h",
                         "daemon/data/companions.h", "daemon/data/source.h"],
    "daemon/pipeline/": ["base/", "daemon/pipeline/", "daemon/model/", "daemon/data/",
                         "kernels/backend.h", "api/wire.h"],
    "daemon/pipeline/methods/": ["base/", "daemon/pipeline/methods/", "daemon/model/arch/geometry.h",
                                 "kernels/backend.h"],
    "daemon/pipeline/formats/": ["base/", "daemon/pipeline/formats/", "daemon/model/",
                                 "kernels/backend.h"],
    "daemon/jobdir/": ["base/", "daemon/jobdir/", "daemon/pipeline/job.h",
                       "daemon/pipeline/params/", "daemon/pipeline/check.h", "daemon/pipeline/pipeline.h",
                       "daemon/data/corpus.h", "kernels/backend.h", "kernels/registry.h",
                       "kernels/start.h", "api/wire.h"],
    "daemon/store/": ["base/", "daemon/store/", "migrations/", "api/wire.h"],
    "daemon/files/": ["base/", "daemon/files/", "daemon/model/strangers.h"],
    "daemon/access/": ["base/", "daemon/access/", "daemon/store/store.h", "api/service.h"],
    "daemon/notification/": ["base/", "daemon/notification/", "daemon/access/", "daemon/queue/",
                             "daemon/store/store.h", "api/service.h"],
    "daemon/config/": ["base/", "daemon/config/", "daemon/access/token_file.h",
                       "daemon/access/target.h",
                       "daemon/data/hub/hub.h", "api/wire.h"],
    "daemon/queue/": ["base/", "daemon/queue/", "daemon/store/store.h", "daemon/store/lease.h",
                      "daemon/store/runs.h",
                      "daemon/access/", "daemon/files/", "daemon/pipeline/params/",
                      "daemon/pipeline/export/reexport.h", "daemon/data/", "api/service.h",
                      "api/wire.h"],
    "daemon/estimate/": ["base/", "daemon/estimate/", "daemon/queue/", "daemon/access/access.h",
                         "daemon/pipeline/estimate/", "daemon/pipeline/methods/method.h",
                         "kernels/registry.h"],
    "daemon/": ["base/", "daemon/", "kernels/backend.h", "kernels/registry.h", "kernels/start.h",
                "migrations/", "api/service.h", "api/server/http.h", "api/wire.h"],
    "api/": ["base/", "api/service.h"],
    "api/header/": ["base/", "api/header/"],
    "api/listen/": ["base/", "api/listen/"],
    "api/request/": ["base/", "api/request/", "api/header/", "api/listen/", "api/limits.h",
                     "api/service.h", "api/wire.h"],
    "api/stream/": ["base/", "api/stream/", "api/request/", "api/service.h", "api/wire.h"],
    "api/routes/": ["base/", "api/routes/", "api/stream/", "api/request/", "api/header/",
                    "api/dashboard/assets.h", "api/openapi.h", "api/service.h", "api/wire.h"],
    "api/server/": ["base/", "api/server/", "api/routes/", "api/stream/", "api/request/",
                    "api/listen/", "api/limits.h", "api/service.h"],
    "client/screen/": ["base/", "client/screen/"],
    "client/http/": ["base/", "client/http/", "client/screen/", "api/wire.h"],
    "client/": ["base/", "client/args.h", "client/client.h", "client/http/", "client/screen/"],
    "client/save/": ["base/", "client/args.h", "client/client.h", "client/http/", "client/save/",
                     "client/screen/"],
    "client/job/": ["base/", "client/args.h", "client/client.h", "client/http/", "client/job/",
                    "client/save/", "client/screen/", "api/wire.h", "api/stream/sse.h"],
    "client/verbs/": ["base/", "client/", "api/wire.h"],
    "migrations/": ["base/", "migrations/"],
    "tools/": ["base/", "tools/", "daemon/model/"],
    "tests/": [""],
}
# The same for the modules of the dashboard.
MODULES = "api/dashboard/"
MODULE_LAYERS = {
    "lib/": ["lib/"],
    "parts/": ["lib/", "parts/"],
    "charts/": ["lib/", "charts/"],
    "comparison/": ["lib/", "charts/", "comparison/"],
    "pages/": ["lib/", "parts/", "charts/", "comparison/", "pages/"],
}
# A backend knows the contract, and nothing of another backend.
BACKENDS = ("kernels/cpu/", "kernels/cuda/")

# outside header: where it may be included, as prefixes of file names.
HEADERS = {
    r"cuda.*|cublas.*|cusolver.*|nv.*": ["kernels/cuda/"],
    r"sqlite3.*": ["daemon/store/"],
    r"microhttpd.*": ["api/request/", "api/routes/", "api/stream/", "api/server/"],
    r"curl/.*": ["daemon/data/hub/", "daemon/notification/webhook.c", "client/http/"],
    r"openssl/.*": ["base/hash.c"],
    r"zip\.h": ["daemon/data/text/zip_member.c"],
    r"zlib\.h": ["api/request/gzip.c", "daemon/data/text/reader.c",
                "daemon/pipeline/formats/zip.c"],
    r"pcre2.*": ["daemon/model/tokenizer/", "daemon/model/readers/pattern.c"],
    r"utf8proc.*": ["daemon/model/tokenizer/", "client/screen/text.c"],
    r"cblas.*|lapack.*|openblas.*": ["kernels/cpu/"],
    r"systemd/.*": ["daemon/notify", "base/log/journal_systemd.c"],
    r"ini\.h": ["daemon/config/"],
}

INCLUDE = re.compile(r'^\s*#\s*include\s*([<"])([^>"]+)[>"]')
CONFLICT = re.compile(r"^(<{7}|\|{7}|>{7})( |$)", re.MULTILINE)
BINARY_SUFFIXES = (".png", ".safetensors")
MARKS = re.compile(r"\b(" + "|".join(("TO" "DO", "FIX" "ME", "X" "XX", "HA" "CK")) + r")\b")


def longest_prefix(name, prefixes):
    found = [prefix for prefix in prefixes if name.startswith(prefix)]
    return max(found, key=len) if found else None


def includes(tree):
    for name in tree.with_suffix(*C_SUFFIXES):
        for number, line in enumerate(tree.lines(name), 1):
            match = INCLUDE.match(line)
            if match:
                yield name, number, match.group(1) == '"', match.group(2)


def may_include(layer, header):
    allowed = LAYERS[layer]
    denied = tuple(prefix[1:] for prefix in allowed if prefix.startswith("!"))
    return header.startswith(tuple(allowed)) and not header.startswith(denied)


def check_layers(tree):
    for name, number, ours, header in includes(tree):
        layer = longest_prefix(name, LAYERS)
        if not ours or layer is None or layer == "tests/":
            continue
        backend = longest_prefix(name, BACKENDS)
        other = longest_prefix(header, BACKENDS)
        if not may_include(layer, header) or (other and other != backend):
            yield name, number, f"{layer} may not include '{header}'"


def check_modules(tree):
    """What the dashboard's modules import."""
    for name in tree.with_suffix(".js"):
        layer = longest_prefix(name.removeprefix(MODULES), MODULE_LAYERS)
        if not name.startswith(MODULES) or layer is None:
            continue
        for number, line in enumerate(tree.lines(name), 1):
            match = re.search(r"""\bfrom ["'](\.[^"']*)["']""", line)
            target = match and os.path.normpath(os.path.join(os.path.dirname(name), match.group(1)))
            if target and not target.startswith(tuple(MODULES + one for one in MODULE_LAYERS[layer])):
                yield name, number, f"{layer} may not import '{target}'"


def check_headers(tree):
    for name, number, ours, header in includes(tree):
        if ours or name.startswith("tests/"):
            continue
        for pattern, places in HEADERS.items():
            if re.fullmatch(pattern, header) and not name.startswith(tuple(places)):
                yield name, number, f"<{header}> belongs into {' '.join(places)}"


def check_own_header_first(tree):
    """A .c file that has a header begins with it, so every header stands alone."""
    first = {}
    for name, _, _, header in includes(tree):
        first.setdefault(name, header)
    for name in tree.with_suffix(".c"):
        own = name[:-2] + ".h"
        if own in tree.files and first.get(name) != own and not name.startswith("tests/"):
            yield name, 1, f"does not include '{own}' first"


def is_code(tree, name):
    return name.endswith(CODE_SUFFIXES) or name.startswith(("scripts/", ".ci/")) or (
        name == "meson_options.txt" and tree.has(name))


def check_licence(tree):
    for name in tree.files:
        head = "\n".join(tree.lines(name)[:2]) if is_code(tree, name) else None
        if head is not None and "SPDX-License-Identifier: Apache-2.0" not in head:
            yield name, 1, "has no SPDX line on top"


def check_file_length(tree):
    for name in tree.with_suffix(*C_SUFFIXES, ".py", ".sh"):
        n = len(tree.lines(name))
        if n > FILE_LINES_MAX and name not in LONG_FILES:
            yield name, n, f"has {n} lines, {FILE_LINES_MAX} are allowed: split it by noun"


def functions(tree, name):
    """(name, first line, lines) of each function; the layout is clang-format's."""
    lines = tree.lines(name)
    head, start, function = "", None, None
    for number, line in enumerate(lines, 1):
        if start is None:
            if not line or line[0] in "#/ }*" and not head:
                head = "" if not line else head
                continue
            head = (head + " " + line.strip()) if line[0] == " " else line
            match = re.search(r"(\w+)\s*\((?!\()", head)
            if line.endswith("{") and match and "=" not in head.split("(")[0]:
                start, function = number, match.group(1)
            elif line.endswith((";", "{")):
                head = ""
        elif line.startswith("}"):
            yield function, start, number - start + 1
            head, start = "", None


def check_function_length(tree):
    for name in tree.with_suffix(*C_SUFFIXES):
        for function, number, n in functions(tree, name):
            if n > FUNCTION_LINES_MAX and (name, function) not in LONG_FUNCTIONS:
                yield (name, number,
                       f"'{function}' has {n} lines, {FUNCTION_LINES_MAX} are allowed: split it")


def check_exceptions(tree):
    """An exception that is no longer needed is removed from the list."""
    for name in LONG_FILES:
        if name in tree.files and len(tree.lines(name)) <= FILE_LINES_MAX:
            yield name, 1, "is listed as a long file and is none"
    for name, function in LONG_FUNCTIONS:
        if name in tree.files and not any(
                f == function and n > FUNCTION_LINES_MAX for f, _, n in functions(tree, name)):
            yield name, 1, f"'{function}' is listed as a long function and is none"


def check_marks(tree):
    for name in tree.files:
        if not is_code(tree, name) and not name.endswith(".md"):
            continue
        for number, line in enumerate(tree.lines(name), 1):
            if MARKS.search(line):
                yield name, number, "speaks of unfinished work"


def check_conflicts(tree):
    """What a merge leaves in a file of any kind where both sides changed it."""
    for name in tree.files:
        if name.endswith(BINARY_SUFFIXES):
            continue
        for match in CONFLICT.finditer(tree.text(name)):
            yield name, tree.text(name).count("\n", 0, match.start()) + 1, "has a mark of a conflict"


def check_layout(tree):
    """Spaces at the end, tabs, long lines: what clang-format does not see in scripts."""
    for name in tree.files:
        if name.endswith(C_SUFFIXES) or not is_code(tree, name):
            continue
        for number, line in enumerate(tree.lines(name), 1):
            if line != line.rstrip():
                yield name, number, "ends in spaces"
            if len(line) > 120:
                yield name, number, "is longer than 120 columns"


def check_prose(tree):
    """Lines of Markdown, outside of tables, code and links that cannot be broken."""
    for name in tree.with_suffix(".md"):
        fenced = False
        for number, line in enumerate(tree.lines(name), 1):
            if line.startswith("```"):
                fenced = not fenced
            if fenced or line.startswith(("|", "    ")) or ONE_LINK.match(line):
                continue
            if len(line) > 100:
                yield name, number, "is longer than 100 columns"


def check_format(tree):
    names = tree.with_suffix(*C_SUFFIXES)
    if not names:
        return
    run = subprocess.run(["clang-format", "--dry-run", "--Werror", "--style=file", *names],
                         cwd=tree.root, capture_output=True, text=True, check=False)
    first = {}
    for match in re.finditer(r"^(\S+?):(\d+):\d+: error: ", run.stderr, re.MULTILINE):
        first.setdefault(match.group(1), int(match.group(2)))
    for name, number in first.items():
        yield name, number, "is not as clang-format writes it"
    if run.returncode and "error: " not in run.stderr:
        yield "clang-format", 0, run.stderr.strip() or "failed"


RULES = [check_layers, check_modules, check_headers, check_own_header_first, check_licence, check_file_length,
         check_function_length, check_exceptions, check_marks, check_conflicts, check_layout, check_prose]


def rules():
    """(rules, why others are skipped)"""
    if shutil.which("clang-format"):
        return RULES + [check_format], None
    return RULES, "clang-format is not installed: the layout was not checked"
