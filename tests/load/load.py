#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""quantd under load: streams that are read, streams that are not, pollers, and jobs that run.

Runs jobs alone, then the same jobs under the load of tests/load/generator.c, and compares. What
must hold is checked: no event is lost, no stream is cut off that is read, every stream ends when
the daemon stops, memory and file descriptors stay bounded, each job gives the same perplexity.
With --seconds it measures, and prints a table; without, it is an ordinary test.
"""
import argparse
import json
import os
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import threading
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), ".."))

from unix_http import UnixConnection  # noqa: E402

HERE = os.path.dirname(os.path.abspath(__file__))
MIB = 1 << 20


def parse():
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("quantd")
    parser.add_argument("generator")
    parser.add_argument("--data", default=os.path.join(HERE, "../../data"),
                        help="folder with olmoe-demo and texts")
    parser.add_argument("--seconds", type=float, help="measure for so long")
    parser.add_argument("--streams", type=int, default=500)
    parser.add_argument("--silent", type=int, default=50, help="of the streams, never read")
    parser.add_argument("--pollers", type=int, default=50)
    parser.add_argument("--interval", type=float, default=0.5, help="of each poller, seconds")
    parser.add_argument("--tcp", type=int, metavar="PORT", help="by TCP, not by a unix socket")
    parser.add_argument("--cpus", help="that the daemon may use, as 0,1")
    parser.add_argument("--worker-cpus", help="of them those of its jobs, as 1")
    parser.add_argument("--generator-cpus", help="of the clients, as 2,3")
    parser.add_argument("--alone", type=int, default=5, help="jobs to run undisturbed")
    parser.add_argument("--wrapper", default="", help="what runs quantd, as valgrind")
    return parser.parse_args()


def cpu_set(text):
    return {int(n) for n in text.split(",")} if text else os.sched_getaffinity(0)


class Daemon:
    """quantd in a folder of its own."""

    def __init__(self, args, home):
        self.home = home
        self.socket = home + "/quantd.sock"
        listen = ["--listen", "unix:" + self.socket]
        self.address = "unix:" + self.socket
        if args.tcp:
            self.address = f"127.0.0.1:{args.tcp}"
            listen += ["--listen", self.address]
        pinned = ["--worker-cpus", args.worker_cpus] if args.worker_cpus else []
        self.log = open(home + "/log", "ab")
        self.process = subprocess.Popen(
            [*args.wrapper.split(), args.quantd, "--state-dir", home + "/state", "--cache-dir",
             home + "/cache", *listen, "--device", "cpu", "--model-root", args.data,
             "--data-root", home + "/texts", "--idle-seconds", "3600",
             "--owner-streams", str(args.streams), *pinned],
            stderr=self.log, env={**os.environ, "HF_HUB_OFFLINE": "1"},
            preexec_fn=lambda: os.sched_setaffinity(0, cpu_set(args.cpus)))
        for _ in range(1200):
            try:
                if self.ask("GET", "/healthz")[0] == 200:
                    return
            except OSError:
                time.sleep(0.05)
        raise AssertionError("quantd does not answer: " + open(home + "/log").read())

    def ask(self, method, path, body=None):
        connection = UnixConnection(self.socket, 600)
        try:
            connection.request(method, path, body and json.dumps(body),
                               {"Content-Type": "application/json"} if body else {})
            response = connection.getresponse()
            return response.status, json.loads(response.read() or "null")
        finally:
            connection.close()

    def submit(self, request):
        status, job = self.ask("POST", "/v1/jobs", request)
        assert status == 202, job
        return job["id"]

    def job(self, job_id):
        return self.ask("GET", f"/v1/jobs/{job_id}")[1]

    def finish(self, job_id):
        while True:
            job = self.job(job_id)
            if job["status"] == "succeeded":
                return job
            assert job["status"] in ("queued", "running"), job["error"]
            time.sleep(0.1)

    def rss(self):
        with open(f"/proc/{self.process.pid}/status", encoding="ascii") as status:
            for line in status:
                if line.startswith("VmRSS:"):
                    return int(line.split()[1]) * 1024
        raise AssertionError("no VmRSS")

    def n_fds(self):
        return len(os.listdir(f"/proc/{self.process.pid}/fd"))

    def stop(self):
        """Return: seconds that it took."""
        begin = time.monotonic()
        self.process.send_signal(signal.SIGTERM)
        status = self.process.wait(timeout=300)
        assert status == 0, f"quantd ended with {status}: " + open(self.home + "/log").read()
        return time.monotonic() - begin


class Sampler(threading.Thread):
    """The daemon's memory and descriptors, once a second."""

    def __init__(self, daemon):
        super().__init__(daemon=True)
        self.of = daemon
        self.samples = []  # (seconds, bytes, descriptors)
        self.over = threading.Event()

    def run(self):
        begin = time.monotonic()
        while not self.over.wait(1):
            self.samples.append((time.monotonic() - begin, self.of.rss(), self.of.n_fds()))


def seconds_of(job):
    def parse_time(text):
        clock, ms = text.rstrip("Z").split(".")
        return time.mktime(time.strptime(clock, "%Y-%m-%dT%H:%M:%S")) + int(ms) / 1000
    return parse_time(job["finished_at"]) - parse_time(job["started_at"])


def prepare(args, home):
    """A text that makes a job of some seconds, or of less for the ordinary test."""
    os.makedirs(home + "/texts")
    with open(args.data + "/texts/demo-calibration.txt", "rb") as text:
        data = text.read(300000 if args.seconds else 60000)
    with open(home + "/texts/text.txt", "wb") as text:
        text.write(data[:data.rindex(b"\n")])
    return {"model": "olmoe-demo", "dataset": "file:text.txt", "eval": "file:text.txt", "wbits": 4,
            "groupsize": 128, "act_order": True, "nsamples": 64 if args.seconds else 16,
            "seqlen": 256}


class Loaded:
    """The time under load: jobs one after the other, always two in the queue."""

    def __init__(self, daemon, args, request, ended):
        self.daemon = daemon
        self.request = request
        self.ids = [daemon.submit(request), daemon.submit(request)]
        command = [args.generator, daemon.address, "--job", str(self.ids[0]), "--ended",
                   str(ended), "--streams", str(args.streams), "--silent", str(args.silent), "--pollers",
                   str(args.pollers), "--interval", str(args.interval), "--seconds",
                   str(args.seconds or 3)]
        self.generator = subprocess.Popen(
            command, stdout=subprocess.PIPE, text=True,
            preexec_fn=lambda: os.sched_setaffinity(0, cpu_set(args.generator_cpus)))
        self.sampler = Sampler(daemon)
        self.sampler.start()

    def run(self):
        """Return: the pollers' report, and the jobs that ran under load from beginning to end."""
        lines = []
        reader = threading.Thread(target=lambda: lines.append(self.generator.stdout.readline()))
        reader.start()
        done = []
        while reader.is_alive():
            if self.daemon.job(self.ids[len(done)])["status"] == "succeeded":
                done.append(self.ids[len(done)])
                self.ids.append(self.daemon.submit(self.request))
            time.sleep(0.2)
        # The one that runs now ends under streams, which is load enough; at least one is needed.
        done.append(self.ids[len(done)])
        jobs = [self.daemon.finish(job_id) for job_id in done]
        assert lines and lines[0], "the generator failed"
        return json.loads(lines[0]), jobs

    def end(self):
        """Stops the daemon beneath the streams. Return: the streams' report, seconds of it."""
        for job_id in self.ids:
            if self.daemon.job(job_id)["status"] in ("queued", "running"):
                self.daemon.ask("POST", f"/v1/jobs/{job_id}/cancel")
        self.sampler.over.set()
        self.sampler.join()
        seconds = self.daemon.stop()
        report = json.loads(self.generator.communicate(timeout=120)[0])
        assert self.generator.returncode == 0
        return report, seconds


def check(args, polled, streams, truth, samples):
    assert polled["errors"] == 0, polled
    assert polled["200"]["n"] > 0 and polled["304"]["n"] > 0, polled
    for name in ("lost", "broken", "refused", "unended"):
        assert streams[name] == 0, (name, streams)
    # Those that follow all jobs are there at any time, those of a job may be between two.
    assert 2 * streams["at_stop"] >= args.streams - args.silent, streams
    assert streams["clean_end"] == streams["at_stop"], streams
    assert streams["jobs"], "no stream saw the end of its job"
    for job in streams["jobs"]:
        if job["id"] in truth:
            assert (job["events"], job["sum"]) == truth[job["id"]], (job, truth[job["id"]])
    assert max(fds for _, _, fds in samples) < args.streams + args.pollers + 100, "descriptors"


def growth(samples):
    """(at the beginning, at the end, largest) bytes: medians of the first and last fifth."""
    n = max(1, len(samples) // 5)
    bytes_of = [rss for _, rss, _ in samples]
    return statistics.median(bytes_of[:n]), statistics.median(bytes_of[-n:]), max(bytes_of)


def print_table(args, polled, streams, alone, loaded, samples, stop_seconds):
    first, last, largest = growth(samples)
    rows = [(f"GET, {kind}", f"{figures['n']}: p50 {figures['p50']:.2f}, p99 {figures['p99']:.2f}, "
             f"p99.9 {figures['p99.9']:.2f}, max {figures['max']:.2f} ms")
            for kind, figures in (("all", polled["get"]), ("200", polled["200"]),
                                  ("304", polled["304"])) if figures["n"]]
    rows += [
        ("a job alone, median of", f"{len(alone)}: {statistics.median(alone):.3f} s"),
        ("a job under load, median of", f"{len(loaded)}: {statistics.median(loaded):.3f} s, "
         f"{100 * (statistics.median(loaded) / statistics.median(alone) - 1):+.1f} %"),
        ("resident memory, first and last fifth, largest",
         f"{first / MIB:.1f}, {last / MIB:.1f}, {largest / MIB:.1f} MiB"),
        ("file descriptors, at most", str(max(fds for _, _, fds in samples))),
        ("stored events to readers, lost", f"{streams['events']}, {streams['lost']}"),
        ("streams that are not read, dropped and opened anew", str(streams["dropped"])),
        ("streams ended in order when it stopped", f"{streams['clean_end']} of {streams['at_stop']} in "
         f"{stop_seconds:.1f} s"),
    ]
    print(f"\n{args.streams} streams, {args.silent} of them never read, {args.pollers} pollers "
          f"every {args.interval} s, {args.seconds or 3:g} s, {'TCP' if args.tcp else 'unix'}\n")
    print("| what | measured |\n|---|---|")
    for row in rows:
        print("| {} | {} |".format(*row))


def run(args, home):
    request = prepare(args, home)
    daemon = Daemon(args, home)
    try:
        first = daemon.finish(daemon.submit(request))  # files and allocator get warm
        alone = [daemon.finish(daemon.submit(request))
                 for _ in range(args.alone if args.seconds else 1)]
        load = Loaded(daemon, args, request, first["id"])
        polled, jobs = load.run()
        truth = {}
        for job in jobs:
            events = daemon.ask("GET", f"/v1/jobs/{job['id']}/events?limit=500")[1]["data"]
            truth[job["id"]] = (len(events), sum(event["seq"] for event in events))
        time.sleep(1)
        streams, stop_seconds = load.end()
    finally:
        if daemon.process.poll() is None:
            daemon.process.kill()
    print_table(args, polled, streams, [seconds_of(job) for job in alone],
                [seconds_of(job) for job in jobs], load.sampler.samples, stop_seconds)
    perplexities = {json.dumps(job["result"]["perplexity"]) for job in alone + jobs}
    assert len(perplexities) == 1, perplexities
    check(args, polled, streams, truth, load.sampler.samples)


def main():
    args = parse()
    home = tempfile.mkdtemp(prefix="quantd-load-")
    try:
        run(args, home)
    except BaseException:
        print(open(home + "/log", errors="replace").read()[-4000:], file=sys.stderr)
        raise
    finally:
        shutil.rmtree(home, ignore_errors=True)
    print("all is well")


if __name__ == "__main__":
    main()
