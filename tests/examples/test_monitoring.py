#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""The alert rules and the dashboard of docs/monitoring: valid, on metrics that quantd has, and right.

Usage: test_monitoring.py BUILD SOURCE. promtool (Debian's package prometheus) reads the rules and
every query of the dashboard, and runs the rules over the series of alerts.yml.
"""
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile

BUILD, SOURCE = sys.argv[1:3]
RULES = SOURCE + "/docs/monitoring/quantd-alerts.yml"
DASHBOARD = SOURCE + "/docs/monitoring/quantd-grafana.json"
VARIABLES = {"datasource", "job", "instance", "__rate_interval", "__all"}
sys.path.insert(0, SOURCE + "/scripts")

from own_daemon import Daemon  # noqa: E402
from unix_http import UnixConnection  # noqa: E402


def text_of(path):
    with open(path, encoding="utf-8") as file:
        return file.read()


def metrics():
    """The names that a quantd exposes, with those that a histogram has."""
    with Daemon(BUILD, "--device", "cpu", "--disk-floor", "0") as daemon:
        connection = UnixConnection(daemon.socket)
        connection.request("GET", "/metrics")
        return set(re.findall(r"^(quantd_\w+)", connection.getresponse().read().decode(), re.M))


def queries(board):
    for panel in board["panels"]:
        assert panel["title"] and panel["description"] and panel["targets"], panel
        for target in panel["targets"]:
            yield panel["title"], target["expr"]


def check_board(board, folder):
    """Ids and places are unique, and Prometheus can read every query."""
    assert len({panel["id"] for panel in board["panels"]}) == len(board["panels"])
    taken = set()
    for place in (panel["gridPos"] for panel in board["panels"]):
        cells = {(x, y) for x in range(place["x"], place["x"] + place["w"])
                 for y in range(place["y"], place["y"] + place["h"])}
        assert not cells & taken and place["x"] + place["w"] <= 24, place
        taken |= cells
    assert set(re.findall(r"\$\{?(\w+)", json.dumps(board))) <= VARIABLES
    rules = [{"record": f"panel:{i}", "expr": expr.replace("$__rate_interval", "5m")}
             for i, (_, expr) in enumerate(queries(board))]
    with open(folder + "/board.yml", "w", encoding="utf-8") as file:
        json.dump({"groups": [{"name": "board", "rules": rules}]}, file)  # JSON is YAML
    promtool("check", "rules", folder + "/board.yml")
    return len(rules)


def promtool(*arguments):
    done = subprocess.run(["promtool", *arguments], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def main():
    board, rules = json.loads(text_of(DASHBOARD)), text_of(RULES)
    used = set(re.findall(r"\bquantd_\w+", rules + json.dumps(board)))
    missing = used - metrics()
    assert len(used) > 8 and not missing, missing
    if not shutil.which("promtool"):
        print("skipped: no promtool; apt-get install prometheus")
        sys.exit(77)
    with tempfile.TemporaryDirectory() as folder:
        n = check_board(board, folder)
        promtool("check", "rules", RULES)
        series = text_of(os.path.dirname(os.path.abspath(__file__)) + "/alerts.yml")
        names = set(re.findall(r"alert: (\w+)", rules))
        assert names == set(re.findall(r"alertname: (\w+)", series)), "an alert has no test"
        with open(folder + "/alerts.yml", "w", encoding="utf-8") as file:
            file.write(series.replace("RULES", RULES))
        promtool("test", "rules", folder + "/alerts.yml")
    print(f"ok: {len(names)} alerts, {n} queries of {len(board['panels'])} panels")


main()
