#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""How far a quantized model is from its original, of quantize and eval jobs.

Usage: test_difference.py QUANTD SOURCE. Prints what it does; exits with 0 when all passed.
"""
import functools
import json
import math
import os
import shutil
import subprocess
import sys
import tempfile
import time

QUANTD, SOURCE = sys.argv[1:3]
sys.path.insert(0, SOURCE + "/tests")

import unix_http  # noqa: E402

HOME = tempfile.mkdtemp(prefix="quantd-difference-")
ask = functools.partial(unix_http.ask, HOME + "/quantd.sock", timeout=250)
SET = "file:evaluation.txt"
FIGURES = {"log_ratio", "log_ratio_stderr", "kl_mean", "kl_stderr", "kl_p50", "kl_p90", "kl_p95",
           "kl_p99", "kl_p999", "kl_max", "same_top", "same_top_stderr", "rms_dp", "mean_dp",
           "tokens"}


def run(**request):
    """The result of a job, and the event of its set."""
    status, made = ask("POST", "/v1/jobs", {"eval": [SET], "seqlen": 128, **request})
    assert status == 202, made
    for _ in range(2400):
        status, state = ask("GET", f"/v1/jobs/{made['id']}")
        if state["finished_at"]:
            break
        time.sleep(0.05)
    assert state["status"] == "succeeded", state["error"]
    _, page = ask("GET", f"/v1/jobs/{made['id']}/events?limit=500")
    finished = [e["data"] for e in page["data"] if e["type"] == "eval.finished"]
    return made["id"], state["result"], finished[0]


def near(a, b):
    return math.isclose(a, b, rel_tol=1e-12)


def check_quantized():
    """Figures that fit each other; the original's perplexity is that of a job of its own."""
    _, original, _ = run(model="olmoe-demo", kind="eval")
    assert "no_difference" not in original and original["difference"] == {}, original
    job, result, event = run(model="olmoe-demo", wbits=3, method="rtn")
    d = result["difference"][SET]
    assert set(d) == FIGURES, sorted(d)
    assert event["difference"] == d and event["baseline"] == result["baseline"][SET]
    assert result["baseline"][SET] == original["perplexity"][SET]["value"]
    ratio = result["perplexity"][SET]["value"] / result["baseline"][SET]
    assert near(math.exp(d["log_ratio"]), ratio), (d["log_ratio"], ratio)
    assert 0 < d["kl_p50"] < d["kl_mean"] < d["kl_p90"] < d["kl_p99"] < d["kl_max"], d
    assert 0.5 < d["same_top"] < 1 and d["tokens"] == result["perplexity"][SET]["tokens"]
    assert result["original"]["seconds"] > 0 and result["original"]["memory"] == "device"

    _, without, event = run(model="olmoe-demo", wbits=3, method="rtn", difference=False)
    assert without["perplexity"] == result["perplexity"], "the comparison changes the perplexity"
    assert without["difference"] == {} and without["no_difference"] == "not asked for"
    assert "difference" not in event
    _, page = ask("GET", f"/v1/jobs/{job}/windows")
    sets = page["data"]
    assert [s["set"] for s in sets] == [SET]
    assert sets[0]["sha256"] == result["perplexity"][SET]["sha256"]
    assert len(sets[0]["nll"]) == result["perplexity"][SET]["windows"]
    mean = math.exp(sum(sets[0]["nll"]) / len(sets[0]["nll"]))
    assert near(mean, result["perplexity"][SET]["value"])
    assert ask("GET", "/v1/jobs/99/windows")[0] == 404
    print("ok   quantize: the figures fit, the perplexity does not depend on them")
    return job, result


def check_measured_again(job, result):
    """An eval job of the checkpoint finds the original by quantd.json."""
    _, again, _ = run(model=f"job:{job}", kind="eval")
    for name, value in result["difference"][SET].items():
        assert math.isclose(again["difference"][SET][name], value, rel_tol=1e-3, abs_tol=1e-6), name
    folder = HOME + "/models/copy"
    shutil.copytree(f"{HOME}/state/jobs/{job}/artifact", folder)
    _, copy, _ = run(model="copy", kind="eval")
    assert copy["difference"] == again["difference"]
    print("ok   eval: job:ID and a copy of its folder are compared with the same original")
    return folder


def edit(folder, **values):
    with open(folder + "/quantd.json", encoding="utf-8") as f:
        record = json.load(f)
    record["params"].update(values.pop("params", {}))
    record.update(values)
    with open(folder + "/quantd.json", "w", encoding="utf-8") as f:
        json.dump(record, f)


def check_no_original(folder):
    """Whatever quantd.json says, the job measures the model, and says why there is no difference."""
    cases = [
        ({"model_fingerprint": "0" * 64}, "no longer the model"),
        ({"params": {"model": "nowhere"}}, "was not found"),
        ({"params": {"model": "../../etc"}}, "was not found"),
        ({"params": {"model": "job:1"}}, "was not found"),
        ({"params": {"model": "copy"}}, "quantized itself"),
        ({"params": {"model": "broken"}}, "cannot be used"),
        ({"params": {"model": 5}}, "no quantd.json that names"),
    ]
    os.makedirs(HOME + "/models/broken")
    with open(HOME + "/models/broken/config.json", "w", encoding="utf-8") as f:
        f.write("{}")
    for change, words in cases:
        edit(folder, **change)
        _, result, _ = run(model="copy", kind="eval")
        assert result["difference"] == {} and words in result["no_difference"], (change, result)
    os.remove(folder + "/quantd.json")
    _, result, _ = run(model="copy", kind="eval")
    assert "no quantd.json that names" in result["no_difference"], result
    print("ok   no original: the result says why")


def main():
    os.makedirs(HOME + "/texts")
    os.makedirs(HOME + "/models")
    with open(SOURCE + "/data/texts/demo-evaluation.txt", "rb") as f:
        text = f.read(40000)
    with open(HOME + "/texts/evaluation.txt", "wb") as f:
        f.write(text[:text.rindex(b"\n")])
    with open(HOME + "/log", "wb") as log:
        daemon = subprocess.Popen(
            [QUANTD, "--state-dir", HOME + "/state", "--cache-dir", HOME + "/cache", "--listen",
             f"unix:{HOME}/quantd.sock", "--device", "cpu", "--model-root", SOURCE + "/data",
             "--model-root", HOME + "/models", "--data-root", HOME + "/texts"],
            stdout=log, stderr=log, env={**os.environ, "HF_HUB_OFFLINE": "1"})
    try:
        for _ in range(200):
            if os.path.exists(HOME + "/quantd.sock"):
                break
            time.sleep(0.05)
        job, result = check_quantized()
        check_no_original(check_measured_again(job, result))
    except BaseException:
        with open(HOME + "/log", encoding="utf-8", errors="replace") as log:
            print(log.read()[-3000:])
        raise
    finally:
        daemon.terminate()
        daemon.wait(timeout=60)
        shutil.rmtree(HOME)


if __name__ == "__main__":
    main()
