# SPDX-License-Identifier: Apache-2.0
"""What was promised to clients, and whether a dead daemon's state folder still holds it."""
import collections
import hashlib
import json
import os
import re
import shutil
import sqlite3
import threading
import time

ENDED = ("succeeded", "failed", "cancelled")
CRASHES_MAX = 3
KEEP_CODES = ("dense", "pt", "gguf")  # recipes that leave them beside the checkpoint
WHILE_RUNNING = ("facts", "phase.started", "progress", "layer.finished", "eval.progress",
                 "eval.finished", "job.resumed", "job.warning", "job.cancelling")
# type of an event: (statuses in which it may come, the status after it)
STEPS = {
    "job.queued": (("new",), "queued"),
    "job.started": (("queued",), "running"),
    "job.interrupted": (("running",), "queued"),
    "job.paused": (("running",), "queued"),
    "job.succeeded": (("running",), "succeeded"),
    "job.failed": (("running",), "failed"),
    "job.cancelled": (("queued", "running"), "cancelled"),
    **{kind: (("running",), "running") for kind in WHILE_RUNNING},
}


class Ledger:
    """What clients received. Any thread."""

    def __init__(self):
        self.lock = threading.Lock()
        self.jobs = {}         # id: recipe, of every acknowledged job
        self.cancelled = set()  # a cancel was acknowledged
        self.deleting = set()  # a delete was sent
        self.deleted = set()   # and acknowledged
        self.counts = collections.Counter()

    def acknowledge(self, job, recipe):
        with self.lock:
            assert self.jobs.setdefault(job, recipe) == recipe, f"id {job} was given twice"
            assert job not in self.deleted, f"the id of deleted job {job} came again"

    def add(self, what, n=1):
        with self.lock:
            self.counts[what] += n

    def snapshot(self):
        with self.lock:
            return (dict(self.jobs), set(self.cancelled), set(self.deleting), set(self.deleted))


class Story:
    """A job as its events show it: one step after the other, from its beginning to one end."""

    def __init__(self, job):
        self.job, self.status, self.attempt, self.kinds = job, "new", 1, []
        self.layers, self.sets, self.phase, self.crashes = [], [], None, 0
        self.ever = set()  # layers and sets that any attempt finished: no crash counts before a new one

    def step(self, kind, data):
        when = f"job {self.job}: {kind} after {self.kinds}"
        allowed, after = STEPS.get(kind, ((), None))
        assert self.status in allowed, when
        self.kinds.append(kind)
        if kind == "job.started":
            assert data["attempt"] == self.attempt, f"{when}: attempt {data['attempt']}"
        elif kind == "job.interrupted":
            crashed = data["reason"] != "shutdown"
            self.attempt += crashed
            self.crashes += crashed
            assert data["attempt"] == self.attempt, f"{when}: {data}"
        elif kind == "job.warning" and data["code"] == "started_anew":
            self.layers, self.sets = [], []
        elif kind == "job.resumed":
            assert data["layer"] in (len(self.layers), 0), f"{when}: {self.layers} {data}"
        elif kind == "layer.finished":
            assert data["layer"] == len(self.layers), f"{when}: {self.layers} {data['layer']}"
            self.layers.append(data["layer"])
            self.gain(data["layer"])
        elif kind == "eval.finished":
            assert data["set"] not in self.sets, f"{when}: {self.sets} {data}"
            self.sets.append(data["set"])
            self.gain(data["set"])
        elif kind == "phase.started":
            self.phase = data["phase"]
        self.status = after

    def gain(self, what):
        """A layer that is made once more, of another model, is not new."""
        if what not in self.ever:
            self.crashes = 0
        self.ever.add(what)


def read_database(state, copy):
    """(jobs by id, stories by job, events by seq, newest seq) of the state folder of a dead quantd.

    A copy is opened: the journal is the daemon's to recover.
    """
    for end in ("", "-wal"):
        if os.path.exists(state + "/quantd.db" + end):
            shutil.copyfile(state + "/quantd.db" + end, copy + end)
        elif os.path.exists(copy + end):
            os.unlink(copy + end)
    connection = sqlite3.connect(copy)
    connection.row_factory = sqlite3.Row
    try:
        verdict = [row[0] for row in connection.execute("PRAGMA integrity_check")]
        assert verdict == ["ok"], verdict
        orphans = connection.execute("PRAGMA foreign_key_check").fetchall()
        assert not orphans, [tuple(row) for row in orphans]
        if not connection.execute("SELECT 1 FROM sqlite_schema WHERE name = 'jobs'").fetchone():
            return {}, {}, {}, 0  # killed before its first migration
        jobs = {row["id"]: row for row in connection.execute("SELECT * FROM jobs")}
        stories = {job: Story(job) for job in jobs}
        events = {}
        for row in connection.execute("SELECT seq, job_id, type, data FROM events ORDER BY seq"):
            data = json.loads(row["data"])
            events[row["seq"]] = (row["job_id"], row["type"], data)
            stories[row["job_id"]].step(row["type"], data)
        newest = connection.execute("SELECT seq FROM sqlite_sequence WHERE name = 'events'")
        return jobs, stories, events, (newest.fetchone() or [0])[0]
    finally:
        connection.close()


def check_jobs(jobs, stories, ledger, references, may_fail=()):
    """Every acknowledged job is there, as its events say, and what succeeded has the bytes.

    @references: by recipe, what an undisturbed run gives, for each model that there is;
    @may_fail: codes of failures that are to be expected here."""
    known, cancelled, deleting, deleted = ledger.snapshot()
    lost = set(known) - set(jobs) - deleting
    assert not lost, f"acknowledged jobs are lost: {lost}"
    assert not deleted & set(jobs), f"deleted jobs are back: {deleted & set(jobs)}"
    active = [job for job, row in jobs.items() if row["status"] in ("running", "cancelling")]
    assert len(active) <= 1, f"{active} run at once on one device"
    for job, row in jobs.items():
        story, status = stories[job], row["status"]
        told = "running" if status == "cancelling" else status
        assert story.status == told, f"job {job} is {status}, its events: {story.kinds}"
        if job in cancelled:
            assert status in ENDED + ("cancelling",), f"job {job} is {status}, it was cancelled"
        if status == "failed":
            error = json.loads(row["error"])
            if error["code"] in may_fail:
                continue
            assert error["code"] == "too_many_attempts", f"job {job}: {error}"
            assert story.crashes == CRASHES_MAX - 1, f"job {job}: {story.kinds}"
        if status == "succeeded" and job in known:
            check_result(job, json.loads(row["result"]), references[known[job]])
    return active[0] if active else None


def summary(result):
    """What must not differ between two runs of one job."""
    return {key: result[key] for key in ("perplexity", "artifacts", "size_bytes",
                                         "bits_per_weight", "model_fingerprint", "seqlen")}


def check_result(job, result, references):
    assert summary(result) in references, f"job {job}: {summary(result)} is none of {references}"


def check_watcher(seen, events, newest, gone):
    """What a watcher received is on disk; @gone: jobs whose events may have been deleted."""
    for seq, event in seen.items():
        assert seq <= newest, f"event {seq} was sent, and is not on disk"
        assert events.get(seq, event) == event, f"event {seq}: {event} is now {events[seq]}"
        assert seq in events or event[0] in gone, f"event {seq} of job {event[0]} is lost"


def check_watched_all(watcher, events, newest, gone):
    """At the end: each durable event once (the watcher holds that), and none left out."""
    missed = set(events) - set(watcher.seen)
    assert not missed, f"the watcher never saw events {sorted(missed)[:20]}"
    unknown = newest - len(set(events) | set(watcher.seen))
    assert unknown >= 0 and (unknown == 0 or gone), f"{unknown} numbers of events were never used"
    for job in {event[0] for event in watcher.seen.values()}:
        if job not in gone:
            story = Story(job)
            for seq in sorted(s for s, e in watcher.seen.items() if e[0] == job):
                story.step(*watcher.seen[seq][1:])
            assert story.status in ENDED, f"job {job} has no end: {story.kinds}"


def leftovers(state, status_of):
    """Files that belong to no job, or to one that needs them no more."""
    found = [name for name in os.listdir(state)
             if not re.fullmatch(r"quantd\.db(-wal|-shm)?|jobs|lock", name)]
    for name in os.listdir(state + "/jobs"):
        status = status_of.get(int(name))
        if status in (None, "failed", "cancelled"):
            found.append(f"jobs/{name} ({status})")
        elif status == "succeeded":
            kept = {"artifact", "result.json", "windows.json"}
            if keeps_codes(f"{state}/jobs/{name}"):
                kept.add("codes")
            found += [f"jobs/{name}/{entry}" for entry in os.listdir(f"{state}/jobs/{name}")
                      if entry not in kept]
    return found


def keeps_codes(folder):
    """The job left a checkpoint that does not hold the codes."""
    try:
        with open(folder + "/artifact/config.json", encoding="utf-8") as file:
            return "quantization_config" not in json.load(file)
    except FileNotFoundError:
        return False


def check_files(state, list_jobs):
    """list_jobs() gives the status of each job; ends that are being recorded get a moment."""
    for _ in range(100):
        found = leftovers(state, list_jobs())
        if not found:
            return
        time.sleep(0.05)
    raise AssertionError(f"files were left over: {found}")


def file_hashes(folder):
    hashes = {}
    for name in os.listdir(folder):
        with open(os.path.join(folder, name), "rb") as file:
            hashes[name] = hashlib.sha256(file.read()).hexdigest()
    return hashes


def check_manifest(folder, hashes):
    """Its manifest lists each other file, with its hash."""
    with open(folder + "/manifest.json", encoding="utf-8") as file:
        manifest = {entry["name"]: entry["sha256"] for entry in json.load(file)["files"]}
    assert manifest == {n: h for n, h in hashes.items() if n != "manifest.json"}, folder


def check_artifacts(state, jobs, known, references):
    """The bytes on disk of every job that succeeded and is there. Return: how many checkpoints."""
    n_checked, codes = 0, collections.defaultdict(list)
    for job, row in jobs.items():
        expected = [{entry["name"]: entry["sha256"] for entry in reference["artifacts"]}
                    for reference in references[known[job]]]
        folder = f"{state}/jobs/{job}/artifact"
        if row["status"] != "succeeded" or not any(expected):
            assert not os.path.exists(folder), folder
            continue
        hashes = file_hashes(folder)
        assert hashes in expected, f"job {job}: the bytes differ: {hashes} {expected}"
        check_manifest(folder, hashes)
        n_checked += 1
        if known[job] in KEEP_CODES:
            kept = file_hashes(f"{state}/jobs/{job}/codes")
            check_manifest(f"{state}/jobs/{job}/codes", kept)
            codes[known[job]] += [] if kept in codes[known[job]] else [kept]
            assert len(codes[known[job]]) <= len(expected), f"job {job}: other codes: {kept}"
    return n_checked
