# SPDX-License-Identifier: Apache-2.0
"""A cluster with Slurm on loopback and a daemon in front of it, for the tests of this folder."""
import contextlib
import hashlib
import http.client
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.dirname(HERE))
import unix_http  # noqa: E402
from programs import Programs  # noqa: E402

REQUEST = {"model": "olmoe-demo", "dataset": "file:short.txt", "eval": ["file:short.txt"],
           "wbits": 4, "groupsize": 128, "act_order": True, "nsamples": 16, "seqlen": 256}
LONGER = {**REQUEST, "nsamples": 128}
# A job of the cluster gets none of it; it chooses the kernels, and with them the bytes.
ENVIRONMENT = {name: value for name, value in os.environ.items()
               if not name.startswith(("OPENBLAS_", "OMP_", "SLURM_", "SBATCH_", "SQUEUE_"))}
PROGRESS = ("progress", "eval.progress")
# With sanitizers all takes longer.
PATIENCE = float(os.environ.get("QUANTD_TEST_PATIENCE", "1"))
SKIP = 77


def wait(what, seconds, check):
    """The first value of check() that is true; an error after @seconds of a machine that is not
    busy, for which a slow one may take three times as long, and more by PATIENCE."""
    seconds *= 3 * PATIENCE
    until = time.monotonic() + seconds
    while True:
        value = check()
        if value:
            return value
        assert time.monotonic() < until, f"{what}: not within {seconds} s"
        time.sleep(0.05)


def hashes(folder):
    found = {}
    for name in sorted(os.listdir(folder)):
        with open(f"{folder}/{name}", "rb") as file:
            found[name] = hashlib.sha256(file.read()).hexdigest()
    return found


class Cluster:
    """By cluster.sh; Slurm's client programs are run with its configuration."""

    def __init__(self, home, nodes=2, **knobs):
        self.home = home
        self.nodes = nodes
        self.environment = {**ENVIRONMENT, "SLURM_CONF": home + "/slurm.conf", **knobs}
        self.do("start", str(nodes))

    def do(self, verb, *arguments):
        subprocess.run([HERE + "/cluster.sh", verb, self.home, *arguments], check=True,
                       env=self.environment, stdin=subprocess.DEVNULL)

    def run(self, *arguments):
        return subprocess.run(arguments, env=self.environment, capture_output=True, text=True,
                              check=False, timeout=60).stdout

    def jobs(self):
        """{name: [state, ...]} of all jobs that Slurm knows."""
        found = {}
        for line in self.run("squeue", "-h", "-a", "-t", "all", "-o", "%j|%T").splitlines():
            name, state = line.rsplit("|", 1)
            found.setdefault(name, []).append(state)
        return found

    def jobs_of(self, number):
        """The same of those that the runs of job @number are."""
        return {name: states for name, states in self.jobs().items() if f"-{number}-" in name}

    def n_ended(self):
        with open(self.home + "/jobcomp.txt", encoding="utf-8") as file:
            return len(file.readlines())

    def pid(self, what):
        with open(f"{self.home}/{what}.pid", encoding="ascii") as file:
            return int(file.read())

    def stop(self):
        self.do("stop")


class Daemon:
    """quantd with slurm = yes; killed and started as often as a test wants."""

    def __init__(self, quantd, quantd_run, source, home, cluster=None, **options):
        self.home = home
        self.socket = home + "/quantd.sock"
        self.process = None
        os.makedirs(home + "/texts", exist_ok=True)
        with open(source + "/data/texts/demo-calibration.txt", "rb") as whole, \
                open(home + "/texts/short.txt", "wb") as short:
            short.write(whole.read(60000))
        options = {"device": "none", "slurm": "yes", "slurm-poll": "1", "slurm-run": os.path.abspath(quantd_run),
                   "log-level": "info", **options}
        self.command = [quantd, "--state-dir", home + "/state", "--cache-dir", home + "/cache",
                        "--listen", "unix:" + self.socket, "--model-root", source + "/data",
                        "--data-root", home + "/texts", "--jobs-dir", home + "/jobs"]
        for name, value in options.items():
            for one in value if isinstance(value, list) else [value]:
                self.command.append(f"--{name}={one}")
        self.environment = {**(cluster.environment if cluster else ENVIRONMENT),
                            "HF_HUB_OFFLINE": "1", "SBATCH_PARTITION": "nowhere"}

    def start(self):
        with open(self.home + "/log", "ab") as log:
            self.process = subprocess.Popen(self.command, env=self.environment, stderr=log)
        wait("quantd", 60, self.is_up)

    def is_up(self):
        assert self.process.poll() is None, "quantd has ended, see " + self.home + "/log"
        try:
            return self.ask("GET", "/v1/status")[0] == 200
        except (OSError, http.client.HTTPException):
            return False

    def log(self):
        try:
            with open(self.home + "/log", encoding="utf-8", errors="replace") as file:
                return file.read()
        except FileNotFoundError:
            return ""

    def end(self, number=signal.SIGTERM):
        if self.process:
            self.process.send_signal(number)
            self.process.wait()
            self.process = None

    def kill(self):
        self.end(signal.SIGKILL)

    def ask(self, method, path, body=None):
        return unix_http.ask(self.socket, method, path, body)

    def metrics(self):
        connection = unix_http.UnixConnection(self.socket)
        connection.request("GET", "/metrics")
        return connection.getresponse().read().decode()

    def submit(self, request=None, **changes):
        status, job = self.ask("POST", "/v1/jobs", {**(request or REQUEST), **changes})
        assert status == 202, job
        return job["id"]

    def job(self, number):
        status, job = self.ask("GET", f"/v1/jobs/{number}")
        assert status == 200, job
        return job

    def wait(self, number, status, seconds=120):
        def check():
            job = self.job(number)
            assert job["status"] == status or job["finished_at"] is None, job
            return job if job["status"] == status else None
        return wait(f"job {number} {status}", seconds, check)

    def succeeds_once(self, number, seconds=240):
        """The artifact of a job that succeeds at its first attempt, each event of it once."""
        job = self.wait(number, "succeeded", seconds)
        kinds = self.kinds(number)
        assert job["attempt"] == 1, job
        for kind, n in (("layer.finished", 3), ("eval.finished", 1), ("job.succeeded", 1),
                        ("job.queued", 1)):
            assert kinds.count(kind) == n, (number, kinds)
        return self.artifact(number)

    def wait_engine(self, number, state, seconds=60):
        return wait(f"job {number} {state}", seconds, lambda: (
            self.job(number)["engine"] or {}).get("state") == state)

    def wait_submitted(self, number, seconds=60):
        return wait(f"job {number} submitted", seconds, lambda: (
            self.job(number)["engine"] or {}).get("id"))

    def wait_event(self, number, kind, seconds=60):
        return wait(f"{kind} of job {number}", seconds, lambda: [
            event for event in self.events(number) if event["type"] == kind])

    def events(self, number):
        found = []
        while True:
            after = found[-1]["seq"] if found else 0
            page = self.ask("GET", f"/v1/jobs/{number}/events?limit=500&after={after}")[1]["data"]
            found += page
            if len(page) < 500:
                return found

    def kinds(self, number):
        return [e["type"] for e in self.events(number) if e["type"] not in PROGRESS]

    def artifact(self, number):
        return hashes(f"{self.home}/jobs/{number}/artifact")


def need_slurm():
    paths = os.environ["PATH"] + ":/usr/sbin:/sbin"
    for program in ("slurmctld", "slurmd", "sbatch", "munged"):
        if not shutil.which(program, path=paths):
            print(f"skipped: {program} is not installed")
            sys.exit(SKIP)


def make_home():
    home = tempfile.mkdtemp(prefix="quantd-slurm-")
    os.chmod(home, 0o755)  # munged wants every user to reach its socket
    return home


def clean_up(home, daemon, cluster=None):
    """Ends both, which may be None; on the way out of an error the daemon's last lines are shown."""
    if daemon:
        if sys.exc_info()[0]:
            sys.stderr.write("".join(daemon.log().splitlines(True)[-60:]))
        daemon.end()
    if cluster:
        cluster.stop()
    shutil.rmtree(home, ignore_errors=True)


@contextlib.contextmanager
def fake_cluster(programs):
    """A folder, fakes of Slurm's programs in it, and a daemon that uses them."""
    home, daemon = make_home(), None
    fake = Programs(home)
    try:
        daemon = Daemon(*programs, home, None, **{
            "slurm-bin": home + "/bin", "slurm-partition": "gpu", "slurm-memory": "2G"})
        daemon.start()
        yield home, fake, daemon
    finally:
        fake.end()
        clean_up(home, daemon)


def run_tests(tests):
    for test in tests:
        began = time.monotonic()
        test()
        print(f"ok: {test.__name__.replace('test_', '').replace('_', ' ')} "
              f"({time.monotonic() - began:.1f} s)", flush=True)
