#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""The daemon as its users meet it: curl, quantctl, kill -9 and a restart.

Usage: test_daemon.py QUANTD QUANTCTL SOURCE. Prints what it does; exits with 0 when all passed.
"""
import gzip
import hashlib
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time

QUANTD, QUANTCTL, SOURCE = sys.argv[1:4]
HOME = tempfile.mkdtemp(prefix="quantd-e2e-")
SOCKET = HOME + "/quantd.sock"
JOB = {
    "model": "olmoe-demo", "dataset": "file:short.txt", "eval": "file:short.txt", "wbits": 4,
    "groupsize": 128, "act_order": True, "nsamples": 16, "seqlen": 256,
}


class Daemon:
    """quantd on a state folder that outlives it."""

    started = []  # all of them, so that none is left running when a check fails

    def __init__(self, *options):
        self.log = open(HOME + "/log", "ab")
        self.process = subprocess.Popen(
            [QUANTD, "--state-dir", HOME + "/state", "--cache-dir", HOME + "/cache", "--listen",
             "unix:" + SOCKET, "--device", "cpu", "--model-root", SOURCE + "/data",
             "--model-root", HOME + "/models", "--data-root", HOME + "/texts", *options],
            stdout=self.log, stderr=self.log, env={**os.environ, "HF_HUB_OFFLINE": "1"})
        self.started.append(self.process)
        for _ in range(100):
            if curl("/healthz")[0] == 200:
                return
            time.sleep(0.05)
        raise AssertionError("quantd does not answer: " + open(HOME + "/log").read())

    def kill(self):
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()

    def stop(self):
        self.process.send_signal(signal.SIGTERM)
        assert self.process.wait(timeout=30) == 0, "quantd did not stop cleanly"


def curl(path, *options):
    """Status and body of one request."""
    done = subprocess.run(
        ["curl", "-sS", "--max-time", "250", "--unix-socket", SOCKET, "-w", "\n%{http_code}",
         "http://localhost" + path, *options], capture_output=True, check=False)
    body, _, status = done.stdout.rpartition(b"\n")
    return int(status or 0), body


def submit(request):
    status, body = curl("/v1/jobs", "-H", "Content-Type: application/json", "-d",
                        request if isinstance(request, str) else json.dumps(request))
    return status, json.loads(body)


def job(job_id):
    return json.loads(curl(f"/v1/jobs/{job_id}")[1])


def wait_for(job_id, condition, seconds=250):
    end = time.time() + seconds
    while time.time() < end:
        state = job(job_id)
        if condition(state):
            return state
        assert state["status"] not in ("failed", "cancelled"), state["error"]
        time.sleep(0.02)
    raise AssertionError(f"job {job_id} did not get there: {state}")


def succeeded(job_id):
    return wait_for(job_id, lambda state: state["status"] == "succeeded")


def artifact_hashes(job_id):
    """Hash of every artifact as it is downloaded, held to what the list says."""
    hashes = {}
    for entry in json.loads(curl(f"/v1/jobs/{job_id}/artifacts")[1])["data"]:
        status, body = curl(entry["url"])
        hashes[entry["name"]] = hashlib.sha256(body).hexdigest()
        assert status == 200 and len(body) == entry["bytes"], entry
        assert hashes[entry["name"]] == entry["sha256"], entry
    assert "model.safetensors.index.json" in hashes
    return hashes


def prepare():
    os.makedirs(HOME + "/texts")
    os.makedirs(HOME + "/models")
    with open(SOURCE + "/data/texts/demo-calibration.txt", "rb") as f:
        text = f.read(60000)
    with open(HOME + "/texts/short.txt", "wb") as f:
        f.write(text[:text.rindex(b"\n")])
    with open(HOME + "/texts/tiny-but-enough.txt", "wb") as f:
        f.write(text[:2000])
    with open(HOME + "/texts/damaged.txt", "wb") as f:
        f.write(text + b"\xff")
    with open(HOME + "/texts/tiny.txt", "wb") as f:
        f.write(b"too short")
    broken = HOME + "/models/broken"
    shutil.copytree(SOURCE + "/data/olmoe-demo", broken)
    os.remove(broken + "/model-00002-of-00002.safetensors")


def check_curl_alone():
    """Submit, watch, fetch the result, download: nothing but curl."""
    status, made = submit(JOB)
    assert status == 202 and made["status"] in ("queued", "running"), made
    status, stream = curl(f"/v1/jobs/{made['id']}/events", "-N", "-H", "Accept: text/event-stream")
    kinds = [line[7:] for line in stream.decode().splitlines() if line.startswith("event: ")]
    assert kinds[0] == "job" and kinds[-1] == "job.succeeded", kinds
    assert kinds.count("layer.finished") == 3 and kinds.count("eval.finished") == 1, kinds
    state = succeeded(made["id"])
    assert 5 < state["result"]["perplexity"]["file:short.txt"]["value"] < 20, state["result"]
    return made["id"], artifact_hashes(made["id"])


def check_documented(job):
    """A layer, and what is in it, has no key that the description of the API lacks."""
    schemas = json.loads(curl("/openapi.json")[1])["components"]["schemas"]
    layers = json.loads(curl(f"/v1/jobs/{job}/layers")[1])["data"]
    for layer in layers:
        for name, parts in (("Layer", [layer]), ("Matrix", layer["matrices"]),
                            ("LayerFile", [layer["file"]])):
            unknown = {key for part in parts for key in part} - set(schemas[name]["properties"])
            assert not unknown, (name, unknown)
    assert len(layers) == 3, layers


def check_kill(daemon, undisturbed):
    """kill -9 while layer 2 of 3 is worked on: the job goes on, and ends in the same bytes."""
    made = submit(JOB)[1]
    wait_for(made["id"], lambda s: len(json.loads(
        curl(f"/v1/jobs/{made['id']}/layers")[1])["data"]) == 1)
    daemon.kill()
    daemon = Daemon()
    state = succeeded(made["id"])
    events = json.loads(curl(f"/v1/jobs/{made['id']}/events")[1])["data"]
    resumed = [e["data"]["layer"] for e in events if e["type"] == "job.resumed"]
    assert state["attempt"] == 2 and resumed and resumed[-1] >= 1, (state["attempt"], resumed)
    assert artifact_hashes(made["id"]) == undisturbed, "the bytes differ after kill -9"
    return daemon


def check_refusals():
    """Bad input: a clear error at once, or a failed job that says why."""
    for request, status, code, word in (
            ('{"model": ', 400, "malformed_json", "line"),
            ({**JOB, "model": "no-such-model"}, 422, "model_not_found", "no-such-model"),
            ({**JOB, "model": "../etc"}, 422, "model_not_found", "../etc"),
            ({**JOB, "wbits": 5}, 422, "invalid_parameter", "wbits"),
            ({**JOB, "colour": "red"}, 422, "invalid_parameter", "colour"),
            ({**JOB, "groupsize": 12}, 422, "invalid_parameter", "groupsize"),
            ({**JOB, "eval": ["nothing"]}, 422, "invalid_parameter", "nothing"),
            # What the folder of the model and the data roots hold.
            ({**JOB, "groupsize": 96}, 422, "invalid_parameter", "groupsize"),
            ({**JOB, "seqlen": 1 << 20}, 422, "invalid_parameter", "seqlen"),
            ({**JOB, "model": "broken"}, 422, "model_incomplete", "broken"),
            ({**JOB, "dataset": "file:nowhere.txt"}, 422, "dataset_not_found", "nowhere.txt"),
            ({**JOB, "eval": ["file:nowhere.txt"]}, 422, "dataset_not_found", "nowhere.txt"),
            # A text of few bytes is read at once.
            ({**JOB, "dataset": "file:tiny.txt"}, 422, "dataset_too_short", "'file:tiny.txt'"),
            ({**JOB, "eval": ["file:short.txt", "file:tiny.txt"]}, 422, "dataset_too_short",
             "256 tokens"),
            ({"kind": "eval", "model": "olmoe-demo", "eval": "file:tiny.txt"}, 422,
             "dataset_too_short", "512 tokens")):
        got, problem = submit(request)
        assert got == status and problem["code"] == code, (got, problem)
        assert word in problem["detail"] and problem["request_id"], problem
    # Offline, a set that is not here is refused; also one that the request does not name.
    for request, field, name in (
            ({**JOB, "dataset": "wikitext2"}, "dataset", "wikitext2"),
            ({**JOB, "eval": ["file:short.txt", "c4-new"]}, "eval", "c4-new"),
            ({name: value for name, value in JOB.items() if name != "eval"}, "eval", "wikitext2")):
        got, problem = submit(request)
        assert (got, problem["code"]) == (422, "hub_offline"), (got, problem)
        assert f"'{name}'" in problem["detail"] and "file:PATH" in problem["hint"], problem
        assert problem["detail"].startswith(field) or problem.get("field") == field, problem
    for request, code in (({**JOB, "dataset": "file:damaged.txt"}, "dataset_invalid"),):
        made = submit(request)[1]
        for _ in range(5000):
            state = job(made["id"])
            if state["status"] == "failed":
                break
            time.sleep(0.02)
        assert state["status"] == "failed" and state["error"]["code"] == code, state
        assert state["error"]["detail"] and state["error"]["hint"], state["error"]


def quantctl(*arguments):
    return subprocess.run([QUANTCTL, "--server", "unix:" + SOCKET, *arguments],
                          capture_output=True, text=True, timeout=120, check=False)


def check_gzip():
    """What is packed is the same text."""
    for path in ("/v1/jobs?limit=500", "/openapi.json"):
        plain, packed = curl(path)[1], curl(path, "-H", "Accept-Encoding: gzip")[1]
        assert gzip.decompress(packed) == plain and len(packed) * 3 < len(plain), len(packed)


def check_status():
    status, body = curl("/v1/status")
    state = json.loads(body)
    assert status == 200 and state["state"]["path"] == HOME + "/state", body
    assert 0 < state["state"]["bytes_free"] <= state["state"]["bytes_total"], body
    assert [(r["kind"], r["readable"]) for r in state["roots"]] == [
        ("model", True), ("model", True), ("data", True)], body
    assert state["hub"]["offline"] and state["hub"]["answered_at"] is None, body


def check_quantctl():
    """The client's own way, and its exit statuses."""
    saved = HOME + "/saved"
    done = quantctl("--json", "eval", "olmoe-demo", "--eval", "file:short.txt", "--seqlen", "256")
    result = json.loads(done.stdout)
    assert done.returncode == 0 and result["status"] == "succeeded", done
    unquantized = result["result"]["perplexity"]["file:short.txt"]["value"]
    done = quantctl("quantize", "olmoe-demo", "file:short.txt", "--wbits", "3", "--nearest",
                    "--eval", "file:short.txt", "--seqlen", "256", "--save", saved)
    assert done.returncode == 0, done
    assert "file:short.txt" in done.stdout and os.path.exists(saved + "/config.json"), done
    events = json.loads(curl(f"/v1/jobs/{result['id'] + 1}/events")[1])["data"]
    measured = [e["data"] for e in events if e["type"] == "eval.finished"]
    assert [data["baseline"] for data in measured] == [unquantized], measured
    done = quantctl("quantize", "olmoe-demo", "file:damaged.txt", "--wbits", "4", "--eval", "none")
    assert done.returncode == 1 and "dataset_invalid" in done.stdout + done.stderr, done
    done = quantctl("quantize", "olmoe-demo", "file:tiny.txt", "--wbits", "4", "--eval", "none")
    assert done.returncode == 3 and "use a longer text" in done.stderr, done
    done = quantctl("quantize", "olmoe-demo", "--wbits", "5")
    assert done.returncode == 3 and "wbits" in done.stderr, done
    assert quantctl("quantize", "olmoe-demo", "--colour").returncode == 2
    assert quantctl("list").returncode == 0


def check_cancel():
    made = submit({**JOB, "nsamples": 2048})[1]
    wait_for(made["id"], lambda s: s["status"] == "running")
    assert curl(f"/v1/jobs/{made['id']}/cancel", "-X", "POST")[0] == 202
    for _ in range(5000):
        if job(made["id"])["status"] == "cancelled":
            return
        time.sleep(0.02)
    raise AssertionError("the job is not cancelled")


def check_ended(daemon, done):
    """Jobs that have ended are done again, and deleted; also over a restart."""
    failed = json.loads(curl("/v1/jobs?status=failed&limit=1")[1])["data"][0]
    told = quantctl("--json", "retry", str(failed["id"]), "--detach")
    assert told.returncode == 0, told
    again = json.loads(told.stdout)
    assert again["id"] > failed["id"] and again["params"] == failed["params"], again
    told = quantctl("watch", str(again["id"]))
    assert told.returncode == 1, told
    status, problem = curl(f"/v1/jobs/{done}/retry", "-X", "POST")
    assert status == 409 and json.loads(problem)["hint"], problem

    newest = json.loads(curl("/v1/events?limit=500")[1])["data"][-1]["seq"]
    folder = f"{HOME}/state/jobs/{done}"
    assert os.path.exists(folder + "/artifact")
    told = quantctl("delete", str(done), str(again["id"]))
    assert told.returncode == 0 and told.stdout.count("deleted") == 2, told
    assert curl(f"/v1/jobs/{done}")[0] == curl(f"/v1/jobs/{done}/artifacts")[0] == 404
    assert not os.path.exists(folder)
    assert quantctl("delete", str(done)).returncode == 3
    daemon.kill()
    daemon = Daemon()
    events = json.loads(curl(f"/v1/events?after={newest}&limit=500")[1])["data"]
    assert not events, events
    made = submit({**JOB, "dataset": "file:damaged.txt"})[1]
    assert made["id"] > again["id"], made
    events = json.loads(curl(f"/v1/events?after={newest}&limit=500")[1])["data"]
    assert events and events[0]["type"] == "job.queued" and events[0]["job"] == made["id"], events
    return daemon


def check_numbers():
    """/readyz and /metrics of a daemon that has worked."""
    assert json.loads(curl("/readyz")[1]) == {"status": "ok"}
    device = json.loads(curl("/v1/devices")[1])["data"][0]
    assert device["memory_free"] > 0 and device["utilization"] is None, device
    status, body = curl("/metrics")
    assert status == 200
    values = dict(line.rsplit(" ", 1) for line in body.decode().splitlines() if line[0] != "#")
    assert float(values["quantd_layers_total"]) > 0 and float(values["quantd_job_tokens_total"]) > 0
    assert float(values["quantd_job_run_seconds_count"]) > 0
    assert float(values["quantd_job_wait_seconds_count"]) > 0
    assert float(values["quantd_store_seconds_count"]) > 0
    assert float(values['quantd_jobs{status="succeeded"}']) > 0
    assert float(values['quantd_device_memory_bytes{device="cpu",state="free"}']) > 0


def check_full_disk(daemon):
    """Below the floor jobs that write wait and say why, others run; with room they go on."""
    status, problem = curl("/readyz")
    assert status == 503 and json.loads(problem)["code"] == "disk_full", problem
    assert curl("/healthz")[0] == curl("/metrics")[0] == 200
    waiting = submit(JOB)[1]["id"]
    state = wait_for(waiting, lambda s: s["paused"])
    assert state["status"] == "queued" and state["paused"]["code"] == "disk_full", state
    assert state["paused"]["detail"] and state["paused"]["hint"] and state["paused"]["since"], state
    succeeded(submit({"kind": "eval", "model": "olmoe-demo", "eval": "file:tiny-but-enough.txt",
                      "seqlen": 64})[1]["id"])
    assert job(waiting)["paused"], job(waiting)
    daemon.stop()
    daemon = Daemon()
    state = succeeded(waiting)
    assert state["paused"] is None and state["attempt"] == 1, state
    return daemon


def main():
    try:
        prepare()
        daemon = Daemon()
        first, undisturbed = check_curl_alone()
        check_documented(first)
        print("ok: curl alone submits, watches, fetches and downloads")
        daemon = check_kill(daemon, undisturbed)
        print("ok: kill -9 in the second layer, the same bytes")
        check_refusals()
        print("ok: bad input is refused with a reason")
        check_status()
        check_gzip()
        check_quantctl()
        print("ok: quantctl and its exit statuses")
        check_numbers()
        print("ok: ready, and numbers for Prometheus")
        check_cancel()
        print("ok: cancel while it runs")
        daemon = check_ended(daemon, first)
        print("ok: retry and delete")
        daemon.stop()
        print("ok: SIGTERM stops it")
        daemon = Daemon("--disk-floor", "1000000T")
        daemon = check_full_disk(daemon)
        print("ok: without room on the disk jobs wait, and then go on")
    finally:
        for process in Daemon.started:
            process.kill()
            process.wait()
        shutil.rmtree(HOME, ignore_errors=True)


main()
