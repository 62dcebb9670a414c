#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""kill -9 at random instants, while clients submit, cancel, delete, retry, download and watch.

Usage: test_kill.py QUANTD MAKE_CHECKPOINT [--kills N] [--seed N] [--nsamples N]
           [--recipes NAME,...] [--exchange] [--under "COMMAND"] [--keep]

One state folder, N lives of the daemon. A client that got no answer asks again, as one on a network
would. After each kill the state folder must hold what clients received: no acknowledged job is
lost, no status or sequence of events is illegal, every event that the watcher received is there. At
the end every job has ended, what succeeded has the bytes of a run without a kill, and the
watcher has seen each event once. The seed fixes the choices; the machine decides where they land.
"""
import argparse
import collections
import glob
import hashlib
import itertools
import json
import os
import random
import shutil
import sys
import tempfile
import threading
import time
import urllib.parse

import ledger as book
from victim import Daemon, UnixConnection, Watcher, prepare

TERMS = {"seqlen": 128, "eval": ["file:evaluation.txt"]}
CALIBRATED = {**TERMS, "dataset": "file:calibration.txt", "groupsize": 32}
# What is submitted; {job} is a checkpoint that a job made.
RECIPES = {
    "gptq": {**CALIBRATED, "model": "small", "wbits": 4, "act_order": True},
    "dense": {**CALIBRATED, "model": "small", "wbits": 3, "format": "dense"},
    "nearest": {**TERMS, "model": "small", "wbits": 4, "groupsize": 32, "nearest": True},
    "eval": {**TERMS, "kind": "eval", "model": "small"},
    "eval-job": {**TERMS, "kind": "eval", "model": "job:{job}"},
    "export": {"kind": "export", "model": "job:{job}", "format": "dense"},
    "pt": {**CALIBRATED, "model": "small", "wbits": 4, "format": "pt"},
    "gguf": {**CALIBRATED, "model": "small", "wbits": 4, "sym": True, "format": "gguf"},
}
READERS = ("eval-job", "export")  # of another job's checkpoint
# Where the kills aim, and how often of a hundred.
AIMS = {"any instant": 36, "an answer": 14, "layer.finished": 8, "eval.finished": 6,
        "job.started": 4, "job.succeeded": 8, "publishing": 12, "start": 6, "graceful stop": 6}
QUEUE = 3  # jobs that wait at most
FIRST_KILL_SECONDS = 0.02


def options():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("quantd")
    parser.add_argument("make_checkpoint")
    parser.add_argument("--kills", type=int, default=12)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--nsamples", type=int, default=128, help="fewer make shorter jobs")
    parser.add_argument("--recipes", default="gptq,dense,nearest,eval,eval-job,export",
                        help="of " + ", ".join(RECIPES) + "; the first makes the checkpoints that "
                             "others read")
    parser.add_argument("--exchange", action="store_true",
                        help="put another model in the place of the first, and back, between kills "
                             "and while jobs run")
    parser.add_argument("--under", default="", help="run quantd under this command")
    parser.add_argument("--keep", action="store_true", help="leave the folder when it fails")
    settings = parser.parse_args()
    settings.recipes = settings.recipes.split(",")
    if not set(settings.recipes) <= set(RECIPES):
        parser.error(f"--recipes: there are {', '.join(RECIPES)}")
    return settings


class Loop:
    """The daemon, its clients, and the thread that kills it."""

    def __init__(self, settings, home):
        self.settings, self.home = settings, home
        self.daemon = Daemon(settings.quantd, home, under=settings.under)
        self.ledger, self.watcher = book.Ledger(), Watcher(self.daemon)
        self.references, self.job_seconds = {}, 0
        self.stop, self.asking = threading.Event(), threading.Event()
        self.keys, self.problems, self.clients = itertools.count(), [], []
        self.landed, self.on_disk = collections.Counter(), set()
        # A job that reads a file while it is written may find half of it.
        self.may_fail = ("model_changed", "model_invalid") if settings.exchange else ()

    # ---- clients ----

    def submit(self, recipe, source=None, retry=None):
        """Asks until it is answered, with one key. Return: the id, None when it was refused."""
        key = f"{self.settings.seed}-{next(self.keys)}"
        body = dict(RECIPES[recipe], model=RECIPES[recipe]["model"].format(job=source))
        if "dataset" in body:
            body["nsamples"] = self.settings.nsamples
        path = f"/v1/jobs/{retry}/retry" if retry else "/v1/jobs"
        status, answer, cut = self.daemon.insist(
            "POST", path, None if retry else body, {"Idempotency-Key": key}, self.asking.set)
        self.ledger.add("submissions sent and not answered", cut)
        self.ledger.add("of them taken before the kill", answer.get("id") in self.on_disk)
        if status in (404, 409) and retry or status == 422 and recipe in READERS:
            return None  # it was deleted meanwhile, or the job whose checkpoint it reads
        if status == 422 and answer["code"] in self.may_fail:
            self.ledger.add("submissions refused while the model was written")
            return None
        assert status in (200, 202), (status, answer)
        self.ledger.acknowledge(answer["id"], recipe)
        return answer["id"], key, body, path

    def submitter(self, rng):
        known, _, deleting, _ = self.ledger.snapshot()
        waiting = set(known) - self.watcher.ended - deleting
        if len(waiting) >= QUEUE:
            time.sleep(0.02)
            return
        recipe = rng.choice(self.settings.recipes)
        source = self.pick(rng, self.settings.recipes[:1]) if recipe in READERS else None
        if recipe in READERS and not source:
            return
        made = self.submit(recipe, source)
        if not made or rng.random() < 0.7:
            return
        # A client that is not sure: the same key again is the same job.
        status, answer, _ = self.daemon.insist("POST", made[3], made[2], {"Idempotency-Key": made[1]})
        gone = made[0] in self.ledger.snapshot()[2]
        assert gone or status in (200, 202) and answer["id"] == made[0], (made, status, answer)
        if gone and status in (200, 202):
            self.ledger.acknowledge(answer["id"], recipe)
        self.ledger.add("keys sent again")

    def pick(self, rng, recipes=tuple(RECIPES), ended=True):
        """A job that was acknowledged and not deleted, or None."""
        known, cancelled, deleting, _ = self.ledger.snapshot()
        jobs = [job for job, recipe in known.items() if recipe in recipes and job not in deleting
                and job not in cancelled and (job in self.watcher.ended) == ended]
        return rng.choice(jobs) if jobs else None

    def meddler(self, rng):
        """Cancels, deletes and retries."""
        time.sleep(rng.uniform(0, 6 * self.job_seconds))
        what = rng.choice(("cancel", "delete", "delete", "retry"))
        job = self.pick(rng, ended=what != "cancel")
        if not job:
            return
        if what == "retry":
            self.submit(self.ledger.jobs[job], retry=job)
        elif what == "cancel":
            status, answer, _ = self.daemon.insist("POST", f"/v1/jobs/{job}/cancel")
            if status == 202:
                with self.ledger.lock:
                    self.ledger.cancelled.add(job)
                self.ledger.add("cancels acknowledged")
            else:
                assert status in (404, 409), (status, answer)
        else:
            self.delete(job)

    def delete(self, job):
        with self.ledger.lock:
            self.ledger.deleting.add(job)
        status, answer, lost = self.daemon.insist("DELETE", f"/v1/jobs/{job}")
        if status == 204 or status == 404 and lost:
            with self.ledger.lock:
                self.ledger.deleted.add(job)
            self.ledger.add("deletes acknowledged")
        else:
            assert status == 409, (status, answer)  # another job reads it
            with self.ledger.lock:
                self.ledger.deleting.discard(job)

    def downloader(self, rng):
        """The largest file of a checkpoint, on from where a broken connection left off."""
        time.sleep(rng.uniform(0, 2 * self.job_seconds))
        job = self.pick(rng, set(RECIPES) - {"eval", "eval-job"})
        listing = job and self.daemon.ask("GET", f"/v1/jobs/{job}/artifacts")
        files = json.loads(listing[2])["data"] if listing and listing[0] == 200 else []
        if not files:
            return
        entry = max(files, key=lambda file: file["bytes"])
        got, parts = bytearray(), 0
        while len(got) < entry["bytes"] and job not in self.ledger.snapshot()[2]:
            parts += bool(self.fetch(entry, got))
        if len(got) == entry["bytes"]:
            assert hashlib.sha256(got).hexdigest() == entry["sha256"], f"job {job}: {entry}"
            self.ledger.add("downloads")
            self.ledger.add("downloads in several parts", parts > 1)

    def fetch(self, entry, got):
        """Reads on after what was got. Return: did anything come?"""
        connection, before = UnixConnection(self.daemon.socket), len(got)
        try:
            path = urllib.parse.urlsplit(entry["url"]).path
            connection.request("GET", path, headers={"Range": f"bytes={before}-"})
            answer = connection.getresponse()
            while answer.status == 206 and (block := answer.read1(65536)):
                got += block
                time.sleep(0.01)
        except Exception:  # pylint: disable=broad-except
            time.sleep(0.02)  # cut off: once more
        finally:
            connection.close()
        return len(got) > before

    def client(self, name, act):
        rng = random.Random(f"{self.settings.seed} {name}")

        def run():
            while not self.stop.is_set() and not self.problems:
                try:
                    act(rng)
                except Exception as error:  # pylint: disable=broad-except
                    self.problems.append(f"{name}: {type(error).__name__}: {error}")
        thread = threading.Thread(target=run, daemon=True)
        thread.start()
        self.clients.append(thread)

    # ---- the killer ----

    def wait_for_export(self, seconds):
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            if glob.glob(f"{self.daemon.state}/jobs/*/work/artifact"):
                return
            time.sleep(0.001)

    def kill(self, rng, aim):
        """Ends the life of the daemon that was just started, one way or the other."""
        if aim == "start":
            time.sleep(rng.uniform(0, 0.15))
            return self.daemon.kill()
        self.daemon.wait_ready()
        if aim == "graceful stop":
            time.sleep(rng.uniform(0, 2 * self.job_seconds))
            stopped = self.daemon.stop_for(rng.uniform(0, 0.3))
            return self.ledger.add("graceful stops that were quicker", stopped)
        if aim == "any instant":
            time.sleep(rng.uniform(0, 5 * self.job_seconds))
        elif aim == "an answer":
            self.asking.clear()
            self.asking.wait(5 * self.job_seconds)
            time.sleep(rng.uniform(0, 0.01))
        elif aim == "publishing":
            self.wait_for_export(5 * self.job_seconds)
            time.sleep(rng.uniform(0, 0.05))
        else:
            self.watcher.wait_for(aim, 5 * self.job_seconds)
            time.sleep(rng.uniform(0, FIRST_KILL_SECONDS))
        return self.daemon.kill()

    def where(self, active, stories):
        """What the daemon was at when it died."""
        if not active:
            return "no job"
        job = f"{self.daemon.state}/jobs/{active}"
        if os.path.exists(job + "/artifact"):
            return "published, not yet recorded"
        if os.path.exists(job + "/work/artifact"):
            return "publishing"
        return {"quantize": "quantizing", "evaluate": "evaluating", "export": "publishing"}.get(
            stories[active].phase, "loading")

    def check_dead(self):
        """The state folder of the dead daemon."""
        jobs, stories, events, newest = book.read_database(self.daemon.state, self.home + "/copy.db")
        active = book.check_jobs(jobs, stories, self.ledger, self.references, self.may_fail)
        self.on_disk = set(jobs)
        with self.watcher.changed:
            seen = dict(self.watcher.seen)
        book.check_watcher(seen, events, newest, self.ledger.snapshot()[2])
        self.check_clients()
        return jobs, events, newest, self.where(active, stories)

    def check_clients(self):
        problems = self.problems + [f"watcher: {self.watcher.problem}"] * bool(self.watcher.problem)
        assert not problems, "\n".join(problems)

    def statuses(self):
        """The status of every job, by the API."""
        found, after = {}, ""
        while True:
            status, page, _ = self.daemon.insist("GET", "/v1/jobs?limit=500" + after)
            assert status == 200, page
            found.update({job["id"]: job["status"] for job in page["data"]})
            if not page["has_more"]:
                return found
            after = f"&after={page['data'][-1]['id']}"

    # ---- the whole ----

    def exchange(self, rng):
        """The files of one model in the place of the other's: new ones, or written over the old."""
        here, there = self.home + "/models/small", self.home + "/others/small"
        kept = tempfile.mkdtemp(dir=self.home)
        in_place = rng.random() < 0.5
        for name in sorted(os.listdir(here)):
            shutil.copyfile(f"{here}/{name}", f"{kept}/{name}")
        for name in sorted(os.listdir(there)):
            if in_place:
                shutil.copyfile(f"{there}/{name}", f"{here}/{name}")
            else:
                os.replace(shutil.copyfile(f"{there}/{name}", f"{here}/{name}.new"),
                           f"{here}/{name}")
        shutil.rmtree(there)
        os.rename(kept, there)
        self.ledger.add("exchanges of the model" + (", in place" if in_place else ""))

    def run_recipes(self):
        """Every recipe, undisturbed. Return: {recipe: job}"""
        made = {}
        for recipe in self.settings.recipes:
            job = self.submit(recipe, made.get(self.settings.recipes[0]))[0]
            while (state := self.daemon.insist("GET", f"/v1/jobs/{job}")[1])["status"] != "succeeded":
                assert state["status"] in ("queued", "running"), state
                time.sleep(0.01)
            made[recipe] = job
        return made

    def learn(self):
        """What every recipe gives without a kill."""
        self.daemon.start()
        self.daemon.wait_ready()
        self.watcher.start()
        began = time.monotonic()
        rounds = [self.run_recipes()]
        self.job_seconds = (time.monotonic() - began) / len(rounds[0])
        if self.settings.exchange:
            self.exchange(random.Random(0))
            rounds.append(self.run_recipes())
        self.daemon.kill()
        rows = book.read_database(self.daemon.state, self.home + "/copy.db")[0]
        self.references = {recipe: [book.summary(json.loads(rows[made[recipe]]["result"]))
                                    for made in rounds] for recipe in self.settings.recipes}
        self.check_dead()

    def settle(self):
        """No more kills: every job comes to its end."""
        self.stop.set()
        for thread in self.clients:
            thread.join(120)
            assert not thread.is_alive(), "a client hangs"
        until = time.monotonic() + 300
        while not set((found := self.statuses()).values()) <= set(book.ENDED):
            assert time.monotonic() < until, f"jobs that never end: {found}"
            time.sleep(0.05)
        newest = max(self.watcher.last, 1)
        while (page := self.daemon.insist("GET", f"/v1/events?limit=500&after={newest}")[1])["data"]:
            newest = page["data"][-1]["seq"]
        while self.watcher.last < newest:
            self.check_clients()
            assert time.monotonic() < until, f"the watcher stays at {self.watcher.last}"
            time.sleep(0.05)
        book.check_files(self.daemon.state, self.statuses)
        assert self.daemon.stop_for(60), "quantd did not stop"
        self.watcher.stopped = True

    def run(self):
        rng = random.Random(self.settings.seed)
        self.learn()
        for name, act in (("submitter", self.submitter), ("other submitter", self.submitter),
                          ("meddler", self.meddler), ("downloader", self.downloader)):
            self.client(name, act)
        for n in range(self.settings.kills):
            aim = rng.choices(list(AIMS), list(AIMS.values()))[0]
            self.daemon.start()
            if self.settings.exchange and rng.random() < 0.2:
                self.daemon.wait_ready()
                time.sleep(rng.uniform(0, 2 * self.job_seconds))
                self.exchange(rng)
            self.kill(rng, aim)
            where = self.check_dead()[3]
            if self.settings.exchange and rng.random() < 0.3:
                self.exchange(rng)
            self.landed[aim, where] += 1
            if sys.stdout.isatty() or self.settings.kills > 50 and n % 25 == 24:
                print(f"{n + 1}: {aim}: {where}", flush=True)
            if n % 10 == 9:
                self.daemon.start()
                self.daemon.wait_ready()
                book.check_files(self.daemon.state, self.statuses)
                self.daemon.kill()
        self.daemon.start()
        self.daemon.wait_ready()
        self.settle()
        self.report()

    def report(self):
        jobs, events, newest, _ = self.check_dead()
        known, _, deleting, deleted = self.ledger.snapshot()
        assert set(jobs) == set(known) - deleted - (deleting - set(jobs)), "jobs without a request"
        book.check_watched_all(self.watcher, events, newest, deleting)
        n_checkpoints = book.check_artifacts(self.daemon.state, jobs, known, self.references)
        status = collections.Counter(row["status"] for row in jobs.values())
        kills = collections.Counter()
        for (aim, where), n in self.landed.items():
            kills[where] += n
        print(f"{self.settings.kills} kills, seed {self.settings.seed}, "
              f"{self.job_seconds:.2f} s a job")
        for where, n in kills.most_common():
            print(f"  {n:6}  {where}")
        print(f"{len(known)} jobs acknowledged, none lost, all ended: "
              + ", ".join(f"{status[s]} {s}" for s in book.ENDED)
              + f", {len(deleted)} deleted")
        codes = collections.Counter(json.loads(row["error"])["code"] for row in jobs.values()
                                    if row["status"] == "failed")
        print("  (failed: " + (", ".join(f"{n} {code}" for code, n in codes.items()) or "none")
              + f"; too_many_attempts: {book.CRASHES_MAX} kills in a row, nothing new in between)")
        print(f"{n_checkpoints} checkpoints byte for byte those of an undisturbed run")
        print(f"{len(self.watcher.seen)} events seen once each over {self.watcher.lives} connections")
        for what, n in sorted(self.ledger.counts.items()):
            print(f"  {n:6}  {what}")


def main():
    settings = options()
    home = tempfile.mkdtemp(prefix="quantd-kill-")
    prepare(home, settings.make_checkpoint, settings.nsamples)
    loop, good = Loop(settings, home), False
    try:
        loop.run()
        good = True
    finally:
        loop.daemon.end()
        if good or not settings.keep:
            shutil.rmtree(home, ignore_errors=True)
        else:
            print(f"seed {settings.seed}: the folder is left: {home}", file=sys.stderr)


if __name__ == "__main__":
    main()
