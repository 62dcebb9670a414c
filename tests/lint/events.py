# SPDX-License-Identifier: Apache-2.0
"""Types of events and phases are spelled once, in api/wire.h. Each rule yields (file, line, what)."""
import json
import re

from manual import API, section

WIRE = "api/wire.h"
OPENAPI = "api/openapi.json"
DASHBOARD = "api/dashboard/"
# Of a stream alone: they are not stored, and no job has them.
OF_STREAMS = {"job", "start", "reset"}
TYPE = re.compile(r"\b((?:job|phase|layer|plan|eval)\.[a-z]+|progress)\b")
QUOTED = re.compile(r"""["']((?:job|phase|layer|plan|eval)\.[a-z]+)["']""")


def wire(tree, prefix):
    """The strings of api/wire.h whose names begin with @prefix, in their order."""
    return re.findall(rf'^#define {prefix}\w+ "([^"]*)"', tree.text(WIRE), re.MULTILINE)


def types(tree):
    return set(wire(tree, "WIRE_EVENT_")) - OF_STREAMS - {"text/event-stream"}


def phases(tree):
    return wire(tree, "WIRE_PHASE_")


def differ(name, what, known, found):
    for one in sorted(known ^ found):
        yield name, 1, f"{what} '{one}' is {'missing' if one in known else 'not one of ' + WIRE}"


def check_documents(tree):
    """openapi.json and quantd-api(7) list the types of events, and the phases."""
    schemas = json.loads(tree.text(OPENAPI))["components"]["schemas"]
    for schema, member, known in (("Event", "type", types(tree)), ("Progress", "phase", set(phases(tree)))):
        listed = set(schemas[schema]["properties"][member].get("examples", []))
        yield from differ(OPENAPI, f"{schema}.{member}", known, listed)
    text = section(tree, "EVENTS")
    yield from differ(API, "event", types(tree), set(TYPE.findall(text)))
    for phase in phases(tree):
        if not re.search(rf"\b{phase}\b", text):
            yield API, 1, f"phase '{phase}' is missing"


def words(text, pattern):
    """The quoted words in what @pattern's group holds; None without it."""
    match = re.search(pattern, text, re.MULTILINE | re.DOTALL)
    return re.findall(r'"([^"]+)"', match.group(1)) if match else None


def check_dashboard(tree):
    """The page has a text for each type, or is silent on purpose; its phases are the daemon's."""
    files = {name.rsplit("/", 1)[-1]: name for name in tree.files
             if name.startswith(DASHBOARD) and name.endswith(".js")}
    for name in files.values():
        for number, line in enumerate(tree.lines(name), 1):
            for one in sorted(set(QUOTED.findall(line)) - types(tree)):
                yield name, number, f"event '{one}' is not one of {WIRE}"
    name = files["event_log.js"]
    texts = re.search(r"^const TEXTS = \{(.*?)^\};", tree.text(name), re.MULTILINE | re.DOTALL)
    quiet = words(tree.text(name), r"^const QUIET = \[(.*?)\];") or []
    found = set(re.findall(r'^  "?([\w.]+)"?: \(', texts.group(1) if texts else "", re.MULTILINE))
    yield from differ(name, "event", types(tree) | OF_STREAMS, found | set(quiet))
    name = files["job.js"]
    if words(tree.text(name), r"^export const PHASES = \[(.*?)\];") != phases(tree):
        yield name, 1, f"PHASES are not those of {WIRE}, in their order"


def check_sources(tree):
    """No program spells a type itself: it takes the name from api/wire.h."""
    known = types(tree) - {"progress"}
    for name in tree.with_suffix(".c", ".h"):
        if name == WIRE or not name.startswith(("daemon/", "api/", "client/")):
            continue
        for number, line in enumerate(tree.lines(name), 1):
            for one in sorted(set(QUOTED.findall(line)) & known):
                yield name, number, f"spells '{one}' itself: take its name from {WIRE}"


RULES = [check_documents, check_dashboard, check_sources]
