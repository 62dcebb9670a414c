# SPDX-License-Identifier: Apache-2.0
"""Rules on the shape between files: no include circles, no flat folders."""
import collections
import os

from source import C_SUFFIXES, includes

FOLDER_FILES_MAX = 25
HAND_WRITTEN = C_SUFFIXES + (".py", ".js", ".css", ".sh", ".sql")


def unit(name):
    """A file and its header are one unit: 'client/http' is http.c and http.h."""
    return os.path.splitext(name)[0]


def graph(tree, node):
    """{node: {node that it includes: (file, line)}} of our own files, tests left out."""
    edges = collections.defaultdict(dict)
    files = set(tree.files)
    for name, number, ours, header in includes(tree):
        if not ours or name.startswith("tests/") or header not in files:
            continue
        one, other = node(name), node(header)
        edges[other]
        if one != other:
            edges[one].setdefault(other, (name, number))
    return edges


def circles(edges):
    """The strongly connected components of more than one node (Tarjan 1972), each sorted."""
    index, low, stack, on_stack, found = {}, {}, [], set(), []

    def visit(node):
        index[node] = low[node] = len(index)
        stack.append(node)
        on_stack.add(node)
        for other in edges[node]:
            if other not in index:
                visit(other)
                low[node] = min(low[node], low[other])
            elif other in on_stack:
                low[node] = min(low[node], index[other])
        if low[node] == index[node]:
            component = []
            while not component or component[-1] != node:
                component.append(stack.pop())
                on_stack.discard(component[-1])
            if len(component) > 1:
                found.append(sorted(component))

    for node in sorted(edges):
        if node not in index:
            visit(node)
    return found


def check_circles(tree):
    """Among files, and among folders: no two include each other."""
    for what, node in (("files", unit), ("folders", os.path.dirname)):
        edges = graph(tree, node)
        for circle in circles(edges):
            for one in circle:
                for other in sorted(set(edges[one]) & set(circle)):
                    name, number = edges[one][other]
                    yield (name, number,
                           f"closes a circle of {what}: {' '.join(circle)} ('{one}' includes '{other}')")


def check_folders(tree):
    """A folder that has grown flat is split by noun."""
    counts = collections.Counter(os.path.dirname(name) for name in tree.with_suffix(*HAND_WRITTEN))
    for folder, n in counts.items():
        if n > FOLDER_FILES_MAX:
            yield folder or ".", 0, f"holds {n} source files, {FOLDER_FILES_MAX} are allowed"


RULES = [check_circles, check_folders]
