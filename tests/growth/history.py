# SPDX-License-Identifier: Apache-2.0
"""Growth of quantd's costs with the jobs that wait, and with the events of jobs that have ended.

The rows are written into the database of a daemon that is stopped, as its own INSERT would: copies
of one job that it took. Then it starts on them, and each request's processor time is taken from the
clock of its process, which other programs on the machine do not move.
"""
import contextlib
import json
import os
import socket
import sqlite3
import sys
import tempfile
import time

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path[:0] = [HERE + "/../../scripts", HERE + "/.."]

from own_daemon import ANSWER_SECONDS, Daemon, UnixConnection  # noqa: E402

OWNERS = 5
EVENTS_OF_A_JOB = 100
GROUP_JOBS = 50
REQUEST = {"model": "olmoe-demo", "dataset": "file:demo-calibration.txt", "wbits": 4,
           "groupsize": 128, "nsamples": 4, "seqlen": 64, "method": "rtn",
           "eval": []}
LIMITS = ["--owner-jobs", "0", "--queue-limit", "0", "--log-level", "error"]
LONG_AGO = 1600000000000  # ms


class Measured(Daemon):
    """A daemon whose processor time and memory are read."""

    def start(self):
        begin = time.monotonic()
        super().start()
        self.start_wall = time.monotonic() - begin
        self.start_cpu = self.cpu()

    def cpu(self):
        """Processor seconds of the whole process, threads that have ended among them."""
        return time.clock_gettime((~self.process.pid << 3) | 2)

    def rss(self):
        with open(f"/proc/{self.process.pid}/status", encoding="ascii") as status:
            return next(int(line.split()[1]) for line in status if line.startswith("VmRSS:")) / 1024

    def cost(self, calls):
        """Milliseconds of the processor for each of @calls; the first is not counted."""
        calls[0]()
        begin = self.cpu()
        for call in calls[1:]:
            call()
        return (self.cpu() - begin) * 1000 / (len(calls) - 1)

    def read(self, path):
        """What is no JSON."""
        connection = UnixConnection(self.socket, ANSWER_SECONDS)
        try:
            connection.request("GET", path)
            return connection.getresponse().read()
        finally:
            connection.close()

    def replay(self, after, n):
        """Reads @n events of the stream that goes on behind event @after."""
        with socket.socket(socket.AF_UNIX) as stream:
            stream.settimeout(ANSWER_SECONDS)
            stream.connect(self.socket)
            stream.sendall(b"GET /v1/events HTTP/1.1\r\nHost: localhost\r\n"
                           b"Accept: text/event-stream\r\n"
                           b"Last-Event-ID: %d\r\n\r\n" % after)
            got = b""
            while got.count(b"\nid: ") < n:
                more = stream.recv(1 << 20)
                assert more, "the stream ended"
                got += more

    @contextlib.contextmanager
    def database(self):
        """Of the daemon, which is stopped meanwhile."""
        self.stop()
        with contextlib.closing(sqlite3.connect(self.home + "/state/quantd.db")) as db:
            with db:
                yield db
            db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        self.start()


def columns_of(db):
    """The columns that a copy of a job has; not its id."""
    return [row[1] for row in db.execute("PRAGMA table_xinfo(jobs)")
            if row[1] != "id" and not row[6]]


def copy_jobs(db, n, **changed):
    """@n copies of job 1. @changed: column = expression, in which x counts from 1."""
    columns = columns_of(db)
    values = [changed.get(column, column) for column in columns]
    db.execute(f"WITH RECURSIVE n(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM n WHERE x < {n}) "
               f"INSERT INTO jobs ({', '.join(columns)}) SELECT {', '.join(values)} "
               "FROM n, jobs WHERE jobs.id = 1")


def fill_queue(db, n):
    """@n jobs that wait, of several owners, in groups of GROUP_JOBS."""
    groups = -(-n // GROUP_JOBS)
    db.executemany("INSERT INTO groups (name, owner, private, varies, created_at) "
                   "VALUES (?, 'owner0', 0, '[\"wbits\"]', 0)",
                   [(f"group {i}",) for i in range(groups)])
    copy_jobs(db, n, owner=f"'owner' || (x % {OWNERS})", group_id=f"(x - 1) / {GROUP_JOBS} + 1",
              held="0")
    db.execute("INSERT INTO events (job_id, type, at, data) SELECT id, 'job.queued', created_at, "
               "'{\"attempt\":1}' FROM jobs WHERE id > 1")


def fill_history(db, n, ended):
    """@n events of jobs that ended at @ended, ms."""
    jobs = max(1, n // EVENTS_OF_A_JOB)
    copy_jobs(db, jobs, status="CASE x % 50 WHEN 7 THEN 'failed' ELSE 'succeeded' END",
              owner=f"'owner' || (x % {OWNERS})", started_at="created_at", claim="x",
              finished_at=f"{ended} + x", held="0",
              error="CASE x % 50 WHEN 7 THEN '{\"code\":\"x\"}' END",
              result="CASE x % 50 WHEN 7 THEN NULL ELSE '{\"seconds\":{},\"artifacts\":[]}' END")
    data = json.dumps({"layer": 3, "matrices": [{"name": "model.layers.3.mlp.experts.7.up_proj",
                                                 "error": 0.0123, "seconds": 0.01}] * 4})
    db.execute("WITH RECURSIVE n(x) AS (SELECT 0 UNION ALL SELECT x + 1 FROM n "
               f"WHERE x < {EVENTS_OF_A_JOB - 1}) "
               "INSERT INTO events (job_id, type, at, data) SELECT id, CASE WHEN x < 16 THEN "
               "'layer.finished' ELSE 'progress' END, created_at, ? FROM jobs CROSS JOIN n WHERE id > 1",
               (data,))


def no_device(folder):
    """Options of a daemon that starts nothing: the cluster it knows does not answer."""
    for name in ("sbatch", "squeue", "scancel"):
        with open(f"{folder}/{name}", "w", encoding="ascii") as program:
            program.write("#!/bin/sh\nexec sleep 600\n")
        os.chmod(program.name, 0o755)
    return ["--device", "none", "--slurm", "yes", "--slurm-bin", folder, "--slurm-jobs", "1"]


def open_daemon(build, programs):
    """With one job, which waits and is held."""
    daemon = Measured(build, *LIMITS, *no_device(programs))
    daemon.request("POST", "/v1/jobs", REQUEST)
    daemon.request("POST", "/v1/jobs/1/hold")
    return daemon


def seconds_to_start(daemon, n):
    """Processor seconds of the daemon for each job that it claims, of @n or of all that wait. The
    model is not there, so that each job ends at once."""
    database = sqlite3.connect(f"file:{daemon.home}/state/quantd.db?mode=ro", uri=True)
    with contextlib.closing(database) as db:
        def look():
            return (db.execute("SELECT coalesce(max(claim), 0) FROM jobs").fetchone()[0],
                    daemon.cpu())

        begin = now = look()
        while now[0] < begin[0] + n and db.execute(
                "SELECT EXISTS (SELECT 1 FROM jobs WHERE status = 'queued' AND held = 0)"
                ).fetchone()[0]:
            time.sleep(0.002)
            now = look()
    # They may all have ended before the first look: then the start of the daemon is in the figure.
    return (now[1] - begin[1]) / (now[0] - begin[0]) if now[0] > begin[0] else now[1] / now[0]


def measure_queue(build, n, calls=9):
    """The costs with @n jobs that wait: name of the cost, value."""
    with tempfile.TemporaryDirectory() as programs, open_daemon(build, programs) as daemon:
        with daemon.database() as db:
            fill_queue(db, n)
        ids = [1 + max(1, i * n // calls) for i in range(1, calls + 1)]
        figures = {"restart, ms": daemon.start_cpu * 1000, "memory, MiB": daemon.rss()}
        figures["submit, ms"] = daemon.cost(
            [lambda: daemon.request("POST", "/v1/jobs", REQUEST)] * calls)
        figures["show a job, ms"] = daemon.cost(
            [lambda i=i: daemon.get(f"/v1/jobs/{i}") for i in ids])
        figures["a page of jobs, ms"] = daemon.cost(
            [lambda i=i: daemon.get(f"/v1/jobs?limit=100&after={i}") for i in ids])
        figures["a page of groups, ms"] = daemon.cost(
            [lambda i=i: daemon.get(f"/v1/groups?limit=20&after={1 + i}") for i in range(3)])
        figures["cancel, ms"] = daemon.cost(
            [lambda i=i: daemon.request("POST", f"/v1/jobs/{i}/cancel") for i in set(ids)])
        figures["memory afterwards, MiB"] = daemon.rss()
        with daemon.database() as db:
            db.execute("UPDATE jobs SET model_dir = '/nowhere' WHERE status = 'queued'")
            daemon.options = [*LIMITS, "--device", "cpu"]
        figures["start the next job, ms"] = 1000 * seconds_to_start(daemon, 20)
    return figures


def measure_history(build, n, calls=9):
    """The costs with @n events of jobs that have ended."""
    with tempfile.TemporaryDirectory() as programs, open_daemon(build, programs) as daemon:
        with daemon.database() as db:
            fill_history(db, n, int(time.time() * 1000))
        jobs = max(1, n // EVENTS_OF_A_JOB)
        ids = [1 + max(1, i * jobs // calls) for i in range(1, calls + 1)]
        path = daemon.home + "/state/quantd.db"
        figures = {"restart, ms": daemon.start_cpu * 1000, "memory, MiB": daemon.rss(),
                   "database, MiB": os.path.getsize(path) / (1 << 20)}
        figures["submit, ms"] = daemon.cost(
            [lambda: daemon.request("POST", "/v1/jobs", REQUEST)] * calls)
        figures["show a job, ms"] = daemon.cost(
            [lambda i=i: daemon.get(f"/v1/jobs/{i}") for i in ids])
        figures["events of a job, ms"] = daemon.cost(
            [lambda i=i: daemon.get(f"/v1/jobs/{i}/events?limit=100") for i in ids])
        figures["a page of jobs, ms"] = daemon.cost(
            [lambda i=i: daemon.get(f"/v1/jobs?limit=100&after={i}") for i in ids])
        figures["a page of failed jobs, ms"] = daemon.cost(
            [lambda i=i: daemon.get(f"/v1/jobs?limit=20&status=failed&after={i}") for i in ids])
        figures["replay 50 events, ms"] = daemon.cost(
            [lambda i=i: daemon.replay(max(1, (i - 6) * EVENTS_OF_A_JOB), 50) for i in ids])
        figures["metrics, ms"] = daemon.cost([lambda: daemon.read("/metrics")] * calls)
    figures["expire 100 events, ms"] = 100 * milliseconds_to_expire(build, n)
    return figures


def milliseconds_to_expire(build, n, seconds=2):
    """Of the processor, for each event of progress that the retention deletes, of @n events."""
    with tempfile.TemporaryDirectory() as programs, open_daemon(build, programs) as daemon:
        with daemon.database() as db:
            fill_history(db, n, LONG_AGO)
        database = sqlite3.connect(f"file:{daemon.home}/state/quantd.db?mode=ro", uri=True)
        with contextlib.closing(database) as db:
            counts, until = [], time.monotonic() + ANSWER_SECONDS
            while len(counts) < 2 or counts[-1][0] >= n and time.monotonic() < until:
                counts.append((db.execute("SELECT count(*) FROM events").fetchone()[0],
                               daemon.cpu()))
                time.sleep(seconds)
    (before, begin), (after, end) = counts[0], counts[-1]
    assert after < n, f"none of {n} old events was deleted in {ANSWER_SECONDS} s"
    # A short history is gone by now: then its start is in the figure.
    return 1000 * ((end - begin) / (before - after) if before > after else end / n)
