#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""POST /v1/estimate beside what the jobs then take: memory, size, disk, seconds; what is there.

Usage: test_estimate.py QUANTD SOURCE. Prints a table; exits with 0 when all passed.
"""
import functools
import os
import shutil
import subprocess
import sys
import tempfile
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "../.."))

import unix_http  # noqa: E402

QUANTD, SOURCE = sys.argv[1:3]
HOME = tempfile.mkdtemp(prefix="quantd-estimate-")
SOCKET = HOME + "/quantd.sock"
PATIENCE = 120
ask = functools.partial(unix_http.ask, SOCKET, timeout=PATIENCE)
JOB = {"model": "olmoe-demo", "eval": "file:short.txt", "wbits": 4, "groupsize": 32, "seqlen": 128}
GPTQ = {**JOB, "dataset": "file:short.txt", "nsamples": 8, "act_order": True}


def estimate(body):
    status, value = ask("POST", "/v1/estimate", body)
    assert status == 200, value
    for field, known in (("seconds", value["seconds"]), ("memory", value["memory"]["device"])):
        assert (known is None) == (field in value["reasons"]), (field, value)
    return value


def refused(body, field, code=None):
    """The estimate is refused as the submission is."""
    estimated, submitted = ask("POST", "/v1/estimate", body), ask("POST", "/v1/jobs", body)
    assert estimated[0] == submitted[0] == 422, (estimated, submitted)
    for name in ("field", "code", "detail", "hint"):
        assert estimated[1].get(name) == submitted[1].get(name), (estimated, submitted)
    assert estimated[1].get("field") == field, estimated
    assert code in (None, estimated[1]["code"]), estimated


def run(body):
    status, job = ask("POST", "/v1/jobs", body)
    assert status == 202, job
    end = time.monotonic() + PATIENCE
    while job["status"] not in ("succeeded", "failed", "cancelled"):
        assert time.monotonic() < end, job
        time.sleep(0.1)
        job = ask("GET", f"/v1/jobs/{job['id']}")[1]
    assert job["status"] == "succeeded", job["error"]
    return job


def near(what, guess, truth, share):
    print(f"{what:42} {guess:>12} {truth:>12}  {guess / truth - 1:+.1%}")
    assert abs(guess - truth) <= share * truth, (what, guess, truth)


def sizes():
    """The first job's memory but for ids and threads; sizes but for names and tokenizer."""
    guess = estimate(GPTQ)
    assert guess["seconds"] is None and guess["history_jobs"] == 0, guess
    job = run(GPTQ)
    near("device memory", guess["memory"]["device"], job["result"]["peak_memory"]["device"], 0.05)
    assert guess["windows"] == {
        "file:short.txt": job["result"]["perplexity"]["file:short.txt"]["windows"]}, guess
    near("bits per weight", guess["bits_per_weight"], job["result"]["bits_per_weight"], 1e-9)
    for name in ("gptq", "compressed-tensors", "dense", "pt", "gguf"):
        body = {**JOB, "method": "rtn", "format": name, "eval": []}
        guess = estimate(body)
        job = run(body)
        near("size: " + name, guess["size_bytes"], job["result"]["size_bytes"], 0.05)
        kept = sum(entry.stat().st_size for top, _, files in
                   os.walk(f"{HOME}/state/jobs/{job['id']}") for entry in os.scandir(top)
                   if entry.is_file() and entry.name.endswith((".safetensors", ".gguf", ".pt")))
        assert guess["disk"]["needed"] >= 0.9 * kept, (guess["disk"], kept)


def times():
    """By the jobs that have run; twice the text, about twice the seconds."""
    guess = estimate(GPTQ)
    assert guess["history_jobs"] >= 1 and guess["same_model"], guess
    took = run(GPTQ)["result"]["seconds"]["total"]
    print(f"{'seconds':42} {guess['seconds']:>12.3f} {took:>12.3f}")  # the machine may be busy
    assert took / 20 < guess["seconds"] < took * 20, (guess, took)
    guess = estimate(GPTQ)
    more = estimate({**GPTQ, "nsamples": 80})
    assert guess["seconds"] < more["seconds"] < guess["seconds"] * 10, (guess, more)
    evaluation = estimate({"kind": "eval", "model": "olmoe-demo", "eval": "file:short.txt"})
    assert evaluation["size_bytes"] is None and 0 < evaluation["seconds"], evaluation
    job = estimate({"kind": "eval", "model": "job:1", "eval": "file:short.txt"})
    assert job["memory"]["device"] > evaluation["memory"]["device"], (job, evaluation)
    export = estimate({"kind": "export", "model": "job:1", "format": "gptq"})
    assert export["size_bytes"] > 0 and export["seconds"] is None, export


def unknown():
    """What is not here, and what cannot be."""
    refused({**GPTQ, "groupsize": 7}, "groupsize")
    refused({**GPTQ, "dataset": "file:nope.txt"}, "dataset", "dataset_not_found")
    refused({**GPTQ, "model": "nope"}, "model")
    refused({**GPTQ, "eval": "wikitext2"}, "eval", "hub_offline")
    refused([], None)
    status, answer = ask("POST", "/v1/estimate", {**JOB, "method": "rtn", "eval": "file:tiny.txt"})
    assert status == 422 and answer["field"] == "eval", answer
    assert answer["code"] == "dataset_too_short", answer
    huge = estimate({**GPTQ, "nsamples": 65536, "seqlen": 512, "batch": 4096})
    assert huge["fits"] is False and "lower" in huge["reasons"]["fits"], huge
    assert ask("GET", "/v1/jobs")[1]["data"][0]["id"] == 7, "an estimate was submitted"


def inventory():
    """What is below the roots is listed, and each text can be named in a job as it is listed."""
    os.makedirs(HOME + "/texts/sub")
    for name, data in (("sub/a.jsonl", b'{"text": "x"}\n'), ("picture.parquet", b"PAR1" + bytes(99)),
                       (b"\xff.txt".decode(errors="surrogateescape"), b"text")):
        with open(f"{HOME}/texts/{name}", "wb") as f:
            f.write(data)
    os.symlink("/etc/passwd", HOME + "/texts/link.txt")
    os.mkfifo(HOME + "/texts/pipe.txt")
    status, sets = ask("GET", "/v1/datasets")
    assert status == 200 and sets["unreadable"] == 1 and not sets["has_more"], sets
    names = [each["id"] for each in sets["data"]]
    assert names == ["wikitext2", "ptb", "c4", "ptb-new", "c4-new", "file:short.txt",
                     "file:sub/a.jsonl", "file:tiny.txt"], names
    assert sets["data"][5]["bytes"] >= 40000 and sets["data"][5]["root"] == HOME + "/texts", sets
    assert not sets["data"][0]["here"]["evaluation"], sets
    status, models = ask("GET", "/v1/models")
    assert status == 200, models
    assert [(each["id"], each["source"], each["bytes"] > 1_000_000) for each in models["data"]] == [
        ("olmoe-demo", "root", True)], models
    answer = ask("POST", "/v1/jobs", {**GPTQ, "model": "nope"})[1]
    assert SOURCE + "/data" in answer["hint"], answer


def speed():
    """Who types sees it follow: the text is counted once."""
    began = time.monotonic()
    for i in range(10):
        estimate({**GPTQ, "percdamp": 0.01 + i / 1000})
    each = (time.monotonic() - began) / 10
    print(f"an estimate takes {each * 1000:.0f} ms")
    assert each < 1, each


def main():
    os.mkdir(HOME + "/texts")
    with open(SOURCE + "/data/texts/demo-evaluation.txt", encoding="utf-8") as f:
        text = f.read(40000)
    for name, size in (("short.txt", 40000), ("tiny.txt", 100)):
        with open(f"{HOME}/texts/{name}", "w", encoding="utf-8") as f:
            f.write(text[:size])
    with open(HOME + "/log", "wb") as log:
        daemon = subprocess.Popen(
            [QUANTD, "--device", "cpu", "--listen", "unix:" + SOCKET, "--state-dir",
             HOME + "/state", "--cache-dir", HOME + "/cache", "--model-root", SOURCE + "/data",
             "--data-root", HOME + "/texts"], stderr=log,
            env={**os.environ, "HF_HUB_OFFLINE": "1"})
    try:
        end = time.monotonic() + 30
        while not os.path.exists(SOCKET):
            assert time.monotonic() < end and daemon.poll() is None, "quantd did not start"
            time.sleep(0.05)
        for check in (sizes, times, unknown, inventory, speed):
            check()
    finally:
        daemon.terminate()
        daemon.wait()
    shutil.rmtree(HOME)


main()
