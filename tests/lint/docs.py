# SPDX-License-Identifier: Apache-2.0
"""Rules that hold the documents to the programs. Each yields (file, line, what is wrong)."""
import json
import re
import shlex
import subprocess

FLAG = re.compile(r"(?<![\w-])--([a-z][a-z0-9-]*)")
MAN_PAGES = {"quantd": "docs/man/quantd.8", "quantctl": "docs/man/quantctl.1"}
# Port 8000 is that of a server of models, which has paths of its own.
API = re.compile(r"(?<!:8000)/v1/[\w/{}.$-]*[\w}]")
# Documents that may speak of what is not there yet.
LOOKS_AHEAD = ("NEWS.md",)


class Programs:
    """What the programs say of themselves."""

    def __init__(self, quantd, quantctl):
        self.quantd = set(FLAG.findall(output(quantd, "--help")))
        text = output(quantctl, "help")
        self.quantctl = {}
        common = set(FLAG.findall(text))
        for verb in re.findall(r"^  ([a-z][a-z-]*)\b", text, re.MULTILINE):
            more = "" if verb == "help" else output(quantctl, "help", verb)
            self.quantctl[verb] = common | set(FLAG.findall(more))

    def quantctl_flags(self):
        return set().union(*self.quantctl.values())


def output(*command):
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout


def man_text(tree, name):
    return tree.text(name).replace("\\-", "-").replace("\\fR", "").replace("\\fI", "")


def check_man_pages(tree, programs):
    flags = {"quantd": programs.quantd, "quantctl": programs.quantctl_flags()}
    for program, name in MAN_PAGES.items():
        if not tree.has(name):
            yield name, 1, "is missing"
            continue
        found = set(FLAG.findall(man_text(tree, name)))
        for flag in sorted(flags[program] - found):
            yield name, 1, f"does not know --{flag}, which {program} --help lists"
        for flag in sorted(found - flags[program]):
            yield name, 1, f"knows --{flag}, which {program} --help does not list"


def check_man_verbs(tree, programs):
    name = MAN_PAGES["quantctl"]
    if not tree.has(name):
        return
    section = man_text(tree, name).split(".SH VERBS")[-1].split(".SH ")[0]
    found = set(re.findall(r'^\.TP\n\.BI?R? "?([a-z-]+)\b', section, re.MULTILINE))
    for verb in sorted(set(programs.quantctl) - found):
        yield name, 1, f"does not know the verb '{verb}'"
    for verb in sorted(found - set(programs.quantctl)):
        yield name, 1, f"knows the verb '{verb}', which quantctl does not"


def check_openapi(tree, _programs):
    """The routes and openapi.json know the same paths."""
    paths = set(json.loads(tree.text("api/openapi.json"))["paths"])
    routes = set(re.findall(r'^    \{"(/[^"]*)"', tree.text("api/routes/table.c"), re.MULTILINE))
    for path in sorted(routes ^ paths):
        where = "api/routes/table.c" if path in routes else "openapi.json"
        yield "api/openapi.json", 1, f"'{path}' is only in {where}"


def check_parameters(tree, _programs):
    """README's table has every field of a request, and no other."""
    schema = json.loads(tree.text("api/openapi.json"))["components"]["schemas"]["JobRequest"]
    fields = set(schema["properties"])
    found = {}
    for number, line in enumerate(tree.lines("README.md"), 1):
        for name in re.findall(r"`(\w+)`", line.split("|")[1]) if line.startswith("| `") else []:
            found[name] = number
    for name in sorted(fields - set(found)):
        yield "README.md", 1, f"the table of parameters lacks '{name}'"
    for name in sorted(set(found) - fields):
        yield "README.md", found[name], f"a request has no field '{name}'"


def generic(path):
    """A path as written in an example, as openapi.json has it."""
    path = re.sub(r"^/v1/jobs/(\d+|\$\{?\w+\}?|ID|N)(?=/|$)", "/v1/jobs/{id}", path)
    return re.sub(r"(/artifacts)/[\w.$%-]+$", r"\1/{name}", path)


def check_paths(tree, _programs):
    """What a document says can be asked, can be."""
    paths = set(json.loads(tree.text("api/openapi.json"))["paths"])
    for name in tree.with_suffix(".md"):
        if name in LOOKS_AHEAD:
            continue
        for number, line in enumerate(tree.lines(name), 1):
            for path in API.findall(line):
                if generic(path) not in paths:
                    yield name, number, f"there is no '{path}' in openapi.json"


def commands(tree, name):
    """(line, command) in the indented and fenced blocks of a document; continued lines as one."""
    fenced, command, start = False, "", 0
    for number, line in enumerate(tree.lines(name), 1):
        if line.startswith("```"):
            fenced = not fenced
            continue
        if not fenced and not line.startswith("    "):
            continue
        text = line.strip()
        if not command:
            start = number
        if text.endswith("\\"):
            command += text[:-1] + " "
            continue
        yield start, command + text
        command = ""


def words_of(command):
    try:
        return shlex.split(command, comments=True)
    except ValueError:
        return command.split()


def check_command(tree, programs, words):
    """What is wrong with the first command of @words, or None."""
    end = next((i for i, word in enumerate(words) if word in ("|", "&&", ";", "&", ">")), len(words))
    words = words[:end] or [""]
    program = words[0].rsplit("/", 1)[-1]
    flags = {word[2:].split("=")[0] for word in words if word.startswith("--") and word != "--"}
    if words[0].startswith(("scripts/", ".ci/")) and not tree.has(words[0]):
        return f"there is no {words[0]}"
    if program == "quantd":
        unknown = flags - programs.quantd
        return f"quantd does not know --{min(unknown)}" if unknown else None
    if program == "quantctl":
        verbs = [word for word in words[1:] if word in programs.quantctl]
        if not verbs and "--help" not in words and "--version" not in words:
            return f"quantctl has no such verb: {' '.join(words)}"
        unknown = flags - (programs.quantctl[verbs[0]] if verbs else programs.quantctl_flags())
        return f"quantctl {verbs[0]} does not know --{min(unknown)}" if unknown else None
    return None


def check_commands(tree, programs):
    for name in tree.with_suffix(".md"):
        for number, command in commands(tree, name):
            words = [word for word in words_of(command.removeprefix("$ "))]
            while words and re.match(r"^[A-Za-z_]+=", words[0]):
                words = words[1:]
            what = check_command(tree, programs, words) if words else None
            if what:
                yield name, number, what


def check_links(tree, _programs):
    for name in tree.with_suffix(".md"):
        folder = name.rsplit("/", 1)[0] + "/" if "/" in name else ""
        for number, line in enumerate(tree.lines(name), 1):
            for target in re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", line):
                if not tree.has(folder + target):
                    yield name, number, f"links to '{target}', which is not there"


RULES = [check_man_pages, check_man_verbs, check_openapi, check_parameters,
         check_paths, check_commands, check_links]
