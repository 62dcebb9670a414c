#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""kill -9 while quantd starts: on an empty folder, and on the database of the first release.

Usage: test_kill_start.py QUANTD MAKE_CHECKPOINT SOURCE [--kills N] [--seed N]

The database has to be sound after each kill, either as it was or migrated; the start that nobody
kills serves, and runs the job that the old database holds.
"""
import argparse
import collections
import json
import os
import random
import shutil
import sqlite3
import tempfile
import time

import ledger as book
from victim import Daemon, prepare

JOB = {"model": "small", "wbits": 4, "groupsize": 32, "nearest": True, "eval": []}
APPLICATION_ID = 0x71756E74
KILLS_OF_A_FOLDER = 3


def make_old(source, home):
    """A state folder as the first migration alone leaves it, with a job that waits."""
    with open(source + "/migrations/0001_initial.sql", encoding="utf-8") as file:
        script = file.read()
    connection = sqlite3.connect(home + "/state/quantd.db")
    connection.executescript(script)
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute(
        "INSERT INTO jobs (kind, status, owner, name, labels, priority, attempt, request, "
        "model_dir, params, version, created_at) "
        "VALUES ('quantize', 'queued', 'user', '', '{}', 0, 1, ?, ?, ?, 1, 1)",
        (json.dumps(JOB), home + "/models/small", json.dumps(JOB)))
    connection.execute("INSERT INTO events (job_id, type, at, data) "
                       "VALUES (1, 'job.queued', 1, '{\"attempt\":1}')")
    connection.commit()
    connection.execute(f"PRAGMA application_id = {APPLICATION_ID}")
    connection.execute("PRAGMA user_version = 1")
    connection.close()


def start_seconds(daemon):
    began = time.monotonic()
    daemon.start()
    daemon.wait_ready()
    took = time.monotonic() - began
    daemon.kill()
    return took


def version_of(path):
    connection = sqlite3.connect(path)
    try:
        return connection.execute("PRAGMA user_version").fetchone()[0]
    finally:
        connection.close()


def check_end(daemon, old, when):
    """The start that is left alone."""
    daemon.start()
    daemon.wait_ready()
    if old:
        while (job := daemon.insist("GET", "/v1/jobs/1")[1])["status"] != "succeeded":
            assert job["status"] in ("queued", "running"), f"{when}: {job}"
            time.sleep(0.01)
    else:
        status, made, _ = daemon.insist("POST", "/v1/jobs", JOB)
        assert (status, made["id"]) == (202, 1), f"{when}: {made}"
    daemon.kill()


def round_of(home, source, quantd, rng, span, old):
    """A new state folder, some kills. Return: the schema's version after each."""
    shutil.rmtree(home + "/state", ignore_errors=True)
    os.mkdir(home + "/state")
    if old:
        make_old(source, home)
    daemon, found = Daemon(quantd, home), []
    try:
        for _ in range(KILLS_OF_A_FOLDER):
            wait = rng.uniform(0, span)
            when = f"{'old' if old else 'new'} folder, kill after {wait * 1000:.1f} ms"
            daemon.start()
            time.sleep(wait)
            daemon.kill()
            if not os.path.exists(daemon.state + "/quantd.db"):
                found.append("none")
                continue
            jobs = book.read_database(daemon.state, home + "/copy.db")[0]
            assert not old or list(jobs) == [1], f"{when}: {list(jobs)}"
            found.append(version_of(home + "/copy.db"))
        check_end(daemon, old, when)
    finally:
        daemon.end()
    return found


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    for name in ("quantd", "make_checkpoint", "source"):
        parser.add_argument(name)
    parser.add_argument("--kills", type=int, default=12)
    parser.add_argument("--seed", type=int, default=1)
    settings = parser.parse_args()
    rng = random.Random(settings.seed)
    home = tempfile.mkdtemp(prefix="quantd-kill-start-")
    try:
        prepare(home, settings.make_checkpoint)
        span = start_seconds(Daemon(settings.quantd, home))
        for old in (False, True):
            found = collections.Counter()
            for _ in range(max(1, settings.kills // KILLS_OF_A_FOLDER // 2)):
                found.update(round_of(home, settings.source, settings.quantd, rng, span, old))
            print(f"{sum(found.values())} kills within the first {span * 1000:.0f} ms on "
                  f"{'the database of the first release' if old else 'an empty folder'}; schema "
                  "after them: " + ", ".join(f"{v}: {n}" for v, n in found.most_common()))
    finally:
        shutil.rmtree(home, ignore_errors=True)


if __name__ == "__main__":
    main()
