#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Each rule on a tiny tree that breaks it, and on one that does not."""
import os
import shutil
import tempfile
import unittest

import docs
import events
import manual
import shape
import source
from tree import Tree

SPDX = "// SPDX-License-Identifier: Apache-2.0\n"
MARK = "TO" + "DO"


class Programs:
    quantd = {"listen", "help"}
    quantctl = {"list": {"json", "all"}, "help": {"json"}}

    def quantctl_flags(self):
        return {"json", "all"}


class RulesTest(unittest.TestCase):
    def setUp(self):
        self.root = tempfile.mkdtemp(prefix="quantd-lint-")
        self.addCleanup(shutil.rmtree, self.root)

    def tree(self, files):
        shutil.rmtree(self.root)
        for name, text in files.items():
            path = os.path.join(self.root, name)
            os.makedirs(os.path.dirname(path), exist_ok=True)
            with open(path, "w", encoding="utf-8") as file:
                file.write(text)
        return Tree(self.root)

    def rule(self, rule, good, bad, *programs):
        """@rule finds nothing in the files @good, and something in each of @bad."""
        self.assertEqual(list(rule(self.tree(good), *programs)), [])
        for files in bad:
            with self.subTest(files=files):
                self.assertTrue(list(rule(self.tree({**good, **files}), *programs)))

    def test_layers(self):
        self.rule(source.check_layers, {
            "kernels/cpu/a.c": '#include "base/str.h"\n#include "kernels/backend.h"\n',
            "daemon/model/a.c": '#include "kernels/backend.h"\n',
            "tests/unit/a.c": '#include "daemon/store/store.h"\n',
        }, [
            {"base/a.c": '#include "kernels/backend.h"\n'},
            {"kernels/a.c": '#include "daemon/store/store.h"\n'},
            {"kernels/cuda/a.cu": '#include "kernels/cpu/cpu.h"\n'},
            {"daemon/model/b.c": '#include "daemon/pipeline/run.h"\n'},
            {"daemon/data/a.c": '#include "kernels/backend.h"\n'},
            {"daemon/pipeline/a.c": '#include "daemon/store/store.h"\n'},
            {"daemon/a.c": '#include "kernels/cpu/cpu.h"\n'},
            {"api/a.c": '#  include "daemon/queue/jobs.h"\n'},
            {"api/a.c": '#include "api/routes/table.h"\n'},
            {"api/header/a.c": '#include "api/request/request.h"\n'},
            {"api/request/a.c": '#include "api/stream/fanout.h"\n'},
            {"api/stream/a.c": '#include "api/routes/table.h"\n'},
            {"api/routes/a.c": '#include "api/server/http.h"\n'},
            {"client/a.c": '#include "api/service.h"\n'},
            {"tools/a.c": '#include "daemon/store/store.h"\n'},
        ])

    def test_modules(self):
        self.rule(source.check_modules, {
            "api/dashboard/main.js": 'import { a } from "./pages/a.js";\n',
            "api/dashboard/pages/a.js": 'import { b } from "../parts/b.js";\n',
            "api/dashboard/lib/c.js": 'import { d } from "./d.js";\n',
        }, [
            {"api/dashboard/lib/e.js": 'import { b } from "../parts/b.js";\n'},
            {"api/dashboard/parts/e.js": 'import { a } from "../pages/a.js";\n'},
            {"api/dashboard/charts/e.js": 'import { m } from "../main.js";\n'},
        ])

    def test_headers(self):
        places = {
            "cuda_runtime.h": "kernels/cpu/a.c", "sqlite3.h": "daemon/queue/jobs.c",
            "microhttpd.h": "daemon/daemon.c", "curl/curl.h": "client/fetch.c",
            "openssl/evp.h": "daemon/model/a.c", "zlib.h": "base/a.c", "zip.h": "api/a.c",
            "pcre2.h": "daemon/model/arch/olmoe.c", "utf8proc.h": "daemon/data/a.c",
            "cblas.h": "daemon/pipeline/a.c", "lapacke.h": "kernels/cuda/a.c",
            "systemd/sd-daemon.h": "daemon/main.c", "ini.h": "daemon/main.c",
        }
        good = {"daemon/store/store.c": "#include <sqlite3.h>\n", "api/routes/a.c": "#include <microhttpd.h>\n",
                "tests/unit/a.c": "#include <zip.h>\n"}
        self.rule(source.check_headers, good,
                  [{name: f"#include <{header}>\n"} for header, name in places.items()])

    def test_own_header_first(self):
        self.rule(source.check_own_header_first,
                  {"base/a.h": "", "base/a.c": '#include "base/a.h"\n#include <stdio.h>\n'},
                  [{"base/a.c": '#include <stdio.h>\n#include "base/a.h"\n'}])

    def test_licence(self):
        self.rule(source.check_licence, {
            "base/a.c": SPDX, "data/a.json": "{}",
            "scripts/a": "#!/bin/sh\n# SPDX-License-Identifier: Apache-2.0\n",
        }, [{"base/b.c": "int x;\n"}, {"scripts/b": "#!/bin/sh\n"}, {"migrations/0001.sql": ""}])

    def test_lengths(self):
        lines = "    x++;\n"
        self.rule(source.check_file_length, {"base/a.c": lines * 500}, [{"base/b.c": lines * 501}])

        def function(n, head="static int f(int x,\n             int y) {\n"):
            return SPDX + "\n#define A \\\n    1\n\n" + head + lines * (n - 2) + "}\n"

        self.rule(source.check_function_length, {
            "base/a.c": function(60), "base/b.c": "struct a b[] = {\n" + lines * 90 + "};\n",
        }, [{"base/c.c": function(61)},
            {"base/c.c": "struct a b[] = {\n};\n\n" + function(61)},
            {"kernels/cuda/a.cu": function(61, "__global__ void f(int x) {\n")}])

    def test_exceptions(self):
        name = next(iter(source.LONG_FILES))
        self.rule(source.check_exceptions, {name: "\n" * 501}, [{name: "\n"}])

    def test_marks(self):
        self.rule(source.check_marks, {"base/a.c": "/tmp/a-XXXXXX\n"},
                  [{"base/a.c": f"// {MARK}: more\n"}, {"README.md": f"{MARK}\n"}])

    def test_conflicts(self):
        self.rule(source.check_conflicts, {"a.md": "Title\n=======\n  <<<<<<< x\n"}, [
            {"a.js": "let x;\n" + "<" * 7 + " HEAD\n"}, {"a.css": ">" * 7 + " page\n"},
            {"a.json": "|" * 7 + "\n"}])

    def test_layout(self):
        self.rule(source.check_layout, {"scripts/a": "x\n"},
                  [{"scripts/a": "x \n"}, {"scripts/a": "x" * 121}])

    def test_prose(self):
        long = "word " * 21
        self.rule(source.check_prose, {
            "README.md": f"{'x' * 101}\n| {long} |\n    {long}\n```sh\n{long}\n```\n![{long}](a.png)\n"
                         f"  ([{long}](https://example.org/{'x' * 90})).\n",
        }, [{"a.md": f"{long}\n"}, {"a.md": f"- [a](b.md) {long}\n"},
            {"a.md": f"```\na\n```\n{long}\n"}])

    @unittest.skipUnless(shutil.which("clang-format"), "no clang-format")
    def test_format(self):
        self.rule(source.check_format, {".clang-format": "BasedOnStyle: LLVM\n", "a.c": "int x;\n"},
                  [{"a.c": "int  x ;\n"}])

    def test_man_pages(self):
        good = {"docs/man/quantd.8": ".B \\-\\-listen\n.B \\-\\-help\n",
                "docs/man/quantctl.1": ".SH VERBS\n.TP\n.B list\n.TP\n.BR help\n.SH OPTIONS\n"
                                       ".B \\-\\-json\n.B \\-\\-all\n"}
        self.rule(docs.check_man_pages, good, [
            {"docs/man/quantd.8": ".B \\-\\-help\n"},
            {"docs/man/quantctl.1": good["docs/man/quantctl.1"] + ".B \\-\\-more\n"},
        ], Programs())
        self.rule(docs.check_man_verbs, good, [
            {"docs/man/quantctl.1": ".SH VERBS\n.TP\n.B list\n"},
            {"docs/man/quantctl.1": ".SH VERBS\n.TP\n.B list\n.TP\n.B help\n.TP\n.B drop\n"},
        ], Programs())

    def test_circles(self):
        """Files, with x.c and x.h as one; folders; a folder and one inside it."""
        good = {"daemon/a.c": '#include "daemon/a.h"\n#include "daemon/b.h"\n', "daemon/a.h": "",
                "daemon/b.h": "", "daemon/in/c.h": '#include "base/d.h"\n', "base/d.h": ""}
        self.rule(shape.check_circles, good, [
            {"daemon/b.h": '#include "daemon/a.h"\n'},
            {"daemon/b.h": '#include "daemon/e.h"\n', "daemon/e.c": '#include "daemon/a.h"\n',
             "daemon/e.h": ""},
            {"base/e.c": '#include "daemon/in/c.h"\n'},
            {"daemon/b.h": '#include "daemon/in/c.h"\n', "daemon/in/e.c": '#include "daemon/a.h"\n'},
        ])

    def test_folders(self):
        good = {f"daemon/{i}.c": "" for i in range(shape.FOLDER_FILES_MAX)}
        self.rule(shape.check_folders, {**good, "daemon/in/a.c": "", "daemon/a.txt": ""},
                  [{"daemon/a.c": ""}, {"daemon/a.py": ""}])

    def test_openapi(self):
        good = {"api/openapi.json": '{"paths": {"/v1/jobs": {}}}',
                "api/routes/table.c": '    {"/v1/jobs", jobs_get},\n', "README.md": "GET /v1/jobs.\n"}
        self.rule(docs.check_openapi, good, [
            {"api/openapi.json": '{"paths": {"/v1/jobs": {}, "/v1/other": {}}}'},
            {"api/routes/table.c": '    {"/v1/jobs", jobs_get},\n    {"/v1/more", more_get},\n'},
        ], Programs())
        self.rule(docs.check_paths, good, [{"README.md": "curl http://localhost/v1/nothing\n"}],
                  Programs())

    def test_parameters(self):
        schema = '{"components": {"schemas": {"JobRequest": {"properties": {"model": {}}}}}}'
        self.rule(docs.check_parameters,
                  {"api/openapi.json": schema, "README.md": "| `model` | MODEL | `none` |\n"},
                  [{"README.md": ""}, {"README.md": "| `model` |\n| `more` |\n"}], Programs())

    def test_commands(self):
        self.rule(docs.check_commands, {
            "scripts/demo": "", "README.md": "```sh\nscripts/demo\nA=b quantctl list \\\n  --all\n```\n",
        }, [
            {"README.md": "```\nscripts/nothing\n```\n"},
            {"README.md": "    quantd --nothing\n"},
            {"README.md": "```\nquantctl list --nothing\n```\n"},
            {"README.md": "```\nbuild/client/quantctl nothing\n```\n"},
        ], Programs())

    def test_links(self):
        self.rule(docs.check_links, {"docs/a.md": "[b](b.md#part)", "docs/b.md": ""},
                  [{"docs/a.md": "[c](c.md)"}], Programs())

    def test_keys(self):
        page = '.SH KEYS\n.TP\n.BI "listen = " ADDRESS\nWhere. Changes\nat once.\n.SH SEE\n'
        good = {manual.CONF: page,
                "daemon/reload.c": '    {"listen", set_listen},\n'}
        self.rule(manual.check_keys, good, [
            {manual.CONF: ".SH KEYS\n"},
            {manual.CONF: good[manual.CONF].replace("listen", "listens")},
        ], Programs())
        self.rule(manual.check_at_once, good, [
            {"daemon/reload.c": '    {"listen", set_x}, {"other", set_y}\n'},
            {manual.CONF: good[manual.CONF].replace("at once", "later")},
        ], Programs())

    def test_operations(self):
        self.rule(manual.check_operations, {
            manual.API: '.TP\n.BI "GET /v1/jobs/{id}"\nOne.\n',
            "api/openapi.json": '{"paths": {"/v1/jobs/{id}": {"get": {}}}}',
        }, [
            {manual.API: '.TP\n.BI "GET /v1/jobs"\nOne.\n'},
            {"api/openapi.json": '{"paths": {"/v1/jobs/{id}": {"get": {}, "delete": {}}}}'},
        ], Programs())

    WIRE = ('#define WIRE_EVENT_JOB "job"\n#define WIRE_EVENT_JOB_QUEUED "job.queued"\n'
            '#define WIRE_EVENT_PROGRESS "progress"\n#define WIRE_PHASE_PULL "pull"\n'
            '#define WIRE_PHASE_LOAD "load"\n#define WIRE_EVENT_RESET "reset"\n')

    def test_events_of_documents(self):
        schemas = ('{"components": {"schemas": {"Event": {"properties": {"type": {"examples": [%s]}}},'
                   '"Progress": {"properties": {"phase": {"examples": ["pull", %s]}}}}}}')
        page = ".SH EVENTS\n.B progress\n.BR job.queued\n%s load\n.SH ERRORS\n"
        self.rule(events.check_documents, {
            events.WIRE: self.WIRE, manual.API: page % "pull",
            events.OPENAPI: schemas % ('"job.queued", "progress"', '"load"'),
        }, [
            {manual.API: ".SH EVENTS\n.B progress pull load\n.SH ERRORS\n.B job.queued\n"},
            {manual.API: page % "push"},
            {manual.API: (page % "pull").replace("queued", "lost")},
            {events.OPENAPI: schemas % ('"progress"', '"load"')},
            {events.OPENAPI: schemas % ('"job.queued", "job.lost", "progress"', '"load"')},
            {events.OPENAPI: schemas % ('"job.queued", "progress"', '"lode"')},
        ])

    def test_events_of_the_dashboard(self):
        log = ('const TEXTS = {\n  "%s": () => "queued",\n};\n'
               'const QUIET = ["progress", "job", "start", %s];\n')
        self.rule(events.check_dashboard, {
            events.WIRE: self.WIRE,
            "api/dashboard/event_log.js": log % ("job.queued", '"reset"'),
            "api/dashboard/lib/job.js": 'export const PHASES = ["pull", "load"];\n',
        }, [
            {"api/dashboard/event_log.js": log % ("job.lost", '"reset"')},
            {"api/dashboard/event_log.js": log % ("job.queued", '"rest"')},
            {"api/dashboard/lib/job.js": 'export const PHASES = ["load", "pull"];\n'},
            {"api/dashboard/main.js": 'if (event.type === "job.lost") stop();\n'},
        ])

    def test_events_of_sources(self):
        self.rule(events.check_sources, {
            events.WIRE: self.WIRE, "tests/a.c": 'f("job.queued");\n',
            "daemon/a.c": 'f(WIRE_EVENT_JOB_QUEUED, "job.json");\n',
        }, [{"daemon/b.c": 'f("job.queued");\n'},
            {"client/b.c": "f(\"type = 'job.queued'\");\n"}])

    def test_codes(self):
        self.rule(manual.check_codes, {
            manual.API: ".SH ERRORS\n.BR queue_full ,\n.B request_id\n",
            "daemon/queue/jobs.c": 'f("queue_full");\n',
        }, [{manual.API: ".SH ERRORS\n.B no_such_code\n"}], Programs())

    @unittest.skipUnless(shutil.which("groff"), "no groff")
    def test_roff(self):
        page = '.TH A 1\n.SH NAME\na \\- b\n'
        self.rule(manual.check_roff, {"docs/man/a.1": page},
                  [{"docs/man/a.1": page + ".UNKNOWN x\n"}], Programs())


if __name__ == "__main__":
    unittest.main()
