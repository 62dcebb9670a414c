# SPDX-License-Identifier: Apache-2.0
"""Years of jobs in the database of a daemon that does not run: five owners, a sweep, failures.

The rows are those that a daemon writes for the demo model; what is measured follows a formula, so that a
picture looks like one of real jobs and a test can name the numbers.
"""
import itertools
import json
import math
import sqlite3

OWNERS = ("user", "other", "admin", "third", "fourth")
SETS = ("wikitext2", "c4")
BASE = {"wikitext2": 12.3694, "c4": 18.0211}
STDERR = {"wikitext2": 0.3192, "c4": 0.4408}
FINGERPRINT = "a2" * 32
MODEL = {"parameters": 7617792, "layers": 3, "hidden_size": 256, "intermediate_size": 128, "experts": 16,
         "experts_per_token": 4, "vocab_size": 4096, "quantized": False, "fingerprint": FINGERPRINT}
DEFAULTS = {"model": "olmoe-demo", "dataset": "file:demo-calibration.txt", "wbits": 16, "groupsize": -1,
            "nsamples": 128, "seqlen": 512, "batch": None, "seed": 0, "act_order": False, "sym": False,
            "true_sequential": False, "static_groups": False, "grid": "minmax", "method": "gptq",
            "percdamp": 0.01, "eval": list(SETS), "format": "gptq"}
MINUTE = 60000
FAILURES = (
    ("device_memory", "Out of device memory",
     "the job needs 18.2 GB of the device, and 11.4 GB are free", "choose a smaller --batch"),
    ("numerics", "Numerical failure",
     "the Hessian of model.layers.2.mlp.experts.7.down_proj is not positive definite", "raise --percdamp"),
)


def loss(params):
    """How much larger a perplexity is than the unquantized one, as a share of it."""
    if params["wbits"] == 16:
        return 0
    group = params["groupsize"] if params["groupsize"] > 0 else 256
    share = {2: 1.5, 3: 0.14, 4: 0.03, 8: 0.0004}[params["wbits"]] * (0.6 + group / 320)
    share *= 1.9 if params["method"] == "rtn" else 1
    share *= 0.8 if params["act_order"] else 1
    return share * (0.7 if params["grid"] == "mse" else 1)


def bits(params):
    group = params["groupsize"] if params["groupsize"] > 0 else 256
    return params["wbits"] + (16 + params["wbits"]) / group


def result(params, serial):
    quantized = params["wbits"] < 16
    measured = {s: {"value": BASE[s] * (1 + loss(params)), "stderr": STDERR[s] * (1 + loss(params)),
                    "tokens": 63875, "windows": 125, "sha256": "91" * 32} for s in params["eval"]}
    size = round(4200000 + 786432 * bits(params)) if quantized else None
    took = {"load": 0.2, "quantize": 4 + serial % 7, "evaluate": 11.5} if quantized else {"evaluate": 11.5}
    return {"size_bytes": size, "artifacts": [], "perplexity": measured,
            "seconds": {**took, "total": sum(took.values())},
            "peak_memory": {"device": 146847232 + 1024 * serial, "host": 195039232},
            "model_fingerprint": FINGERPRINT, "seqlen": params["seqlen"],
            "bits_per_weight": bits(params) if quantized else None,
            "baseline": {s: BASE[s] if quantized else None for s in params["eval"]},
            **({"difference": {s: difference(params) for s in params["eval"]}} if quantized else {})}


def difference(params):
    """How far the predictions are from the original's, on any set."""
    kl = math.log1p(loss(params)) * 0.9 + 1e-5
    return {"log_ratio": math.log1p(loss(params)), "log_ratio_stderr": math.log1p(loss(params)) / 25 + 1e-5,
            "kl_mean": kl, "kl_stderr": kl / 40, "kl_p50": kl * 0.4, "kl_p90": kl * 2, "kl_p95": kl * 4,
            "kl_p99": kl * 9, "kl_p999": kl * 20, "kl_max": kl * 60, "same_top": 1 - 0.3 * min(1, kl),
            "same_top_stderr": 0.001, "rms_dp": kl / 6, "mean_dp": -kl / 90, "tokens": 63875}


def layer(job, number):
    """The report of a layer, every error a little different."""
    def matrix(name, at, tokens):
        row = {"name": f"model.layers.{number}.{name}_proj", "method": "gptq", "tokens": tokens, "damping": 0.01,
               "error": 0.002 * (1 + number) * (1 + at % 11) * (1 + job % 3), "seconds": 0.01}
        if at == 42:
            row.update(method="rtn", reason="it saw no tokens")
        return row
    experts = [matrix(f"mlp.experts.{e}.{part}", 3 * e + i, 40 + 61 * e)
               for e in range(16) for i, part in enumerate(("gate", "up", "down"))]
    return {"layer": number, "seconds": 1.1,
            "matrices": [matrix(f"self_attn.{part}", i, 65536) for i, part in enumerate("qkvo")] + experts}


def sweep():
    """The parameters of the 96 jobs of a sweep."""
    for method, wbits, group, act, grid in itertools.product(
            ("gptq", "rtn"), (2, 3, 4), (-1, 32, 64, 128), (False, True), ("minmax", "mse")):
        yield {"method": method, "wbits": wbits, "groupsize": group, "act_order": act, "grid": grid,
               **({"dataset": None} if method == "rtn" else {})}


def history(quick):
    """(owner, name, labels, status, parameters) of each job, the oldest first; @quick short ones at the end."""
    yield "user", "as it is", {}, "succeeded", {"dataset": None}
    for i, params in enumerate(sweep()):
        yield OWNERS[i % 5], f"sweep {i + 1}", {"sweep": "all"}, "succeeded", params
    for i in range(180):
        status = ("succeeded", "failed", "succeeded", "cancelled", "succeeded")[i % 5]
        yield (OWNERS[i % 3], "", {"night": str(i // 20)}, status,
               {"wbits": (3, 4, 8)[i % 3], "groupsize": 128, "seed": i, "act_order": True})
    for _ in range(quick):
        yield ("fourth", "quick check of the grid, without any perplexity", {}, "succeeded",
               {"method": "rtn", "wbits": 4, "dataset": None, "eval": []})


# Some of the jobs were submitted together: the name, what differs, and whether a job is of it.
GROUPS = (
    ("gptq or rtn", ["method", "wbits", "groupsize"],
     lambda serial, p: serial < 98 and p["wbits"] in (3, 4) and not p["act_order"] and p["grid"] == "minmax"),
    ("bits by night", ["wbits", "seed"], lambda serial, p: 98 <= serial < 118),
)


def insert(db, serial, row, now):
    owner, name, labels, status, given = row
    params = {**DEFAULTS, **given}
    group = next((number for number, (*_, has) in enumerate(GROUPS, 1) if has(serial, params)), None)
    owner = "user" if group else owner
    created = now - (3000 - serial) * 7 * MINUTE
    done = status == "succeeded"
    code, title, detail, hint = FAILURES[serial % 2]
    error = {"code": code, "title": title, "detail": detail, "hint": hint, "retryable": True}
    found = result(params, serial)
    db.execute(
        "INSERT INTO jobs (kind, status, owner, name, labels, priority, attempt, request, model_dir, params, model,"
        " result, error, claim, version, created_at, started_at, finished_at, group_id)"
        " VALUES ('quantize', ?, ?, ?, ?, 0, 1, ?, '/models/olmoe-demo', ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
        (status, owner, name, json.dumps(labels), json.dumps({"model": "olmoe-demo", **given}), json.dumps(params),
         json.dumps(MODEL), json.dumps(found) if done else None, json.dumps(error) if status == "failed" else None,
         serial, serial, created, created + 2000, created + 2000 + round(1000 * found["seconds"]["total"]), group))
    def event(kind, after, data):
        db.execute("INSERT INTO events (job_id, type, at, data) VALUES (?, ?, ?, ?)",
                   (serial, kind, created + after, json.dumps(data)))
    event("job.queued", 0, {"attempt": 1})
    event("job.started", 2000, {"attempt": 1, "device": "cpu"})
    if not done:
        event(f"job.{status}", 9000, {"error": error} if status == "failed" else {})
        return
    for s, entry in found["perplexity"].items():
        db.execute("INSERT INTO evals (job_id, name, value, wbits, model_fingerprint, windows_sha256, seqlen)"
                   " VALUES (?, ?, ?, ?, ?, ?, ?)",
                   (serial, s, entry["value"], params["wbits"], FINGERPRINT, entry["sha256"], params["seqlen"]))
    if params["wbits"] < 16 and params["method"] == "gptq":
        for number in range(MODEL["layers"]):
            db.execute("INSERT INTO layers (job_id, layer, data) VALUES (?, ?, ?)",
                       (serial, number, json.dumps(layer(serial, number))))
            event("layer.finished", 3000 + 1000 * number, layer(serial, number))
    event("job.succeeded", 9000, {"result": found})


def fill(state, now, quick=220):
    """Fills the empty database of the folder @state with jobs that ended before @now, in milliseconds.

    Returns how many. The daemon must not run.
    """
    with sqlite3.connect(state + "/quantd.db") as db:
        rows = list(history(quick))
        for number, (name, varies, _) in enumerate(GROUPS, 1):
            db.execute("INSERT INTO groups (id, name, owner, private, varies, created_at)"
                       " VALUES (?, ?, 'user', 0, ?, ?)",
                       (number, name, json.dumps(varies), now - (3000 - 98) * 7 * MINUTE))
        for serial, row in enumerate(rows, 1):
            insert(db, serial, row, now)
        # Versions of rows that the daemon writes later are larger.
        db.execute("UPDATE daemon SET epoch = epoch + 1")
    db.close()
    return len(rows)
