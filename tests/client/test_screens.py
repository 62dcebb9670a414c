#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""What the verbs of quantctl print of jobs, devices and daemons, held to the files in golden/; each
also with --json.

Usage: test_screens.py QUANTCTL [--update]. With --update the files are written anew: look at them.
"""
import csv
import io
import json
import os
import re
import socket
import subprocess
import tempfile

import fake
from golden_files import QUANTCTL, check, check_json, failures, finish, run


def queue():
    made = fake.Fake()
    made.jobs = {
        1: fake.job(1, kind="eval", params={"wbits": 16}, result=fake.result(7.25, None)),
        2: fake.job(2, name="four bits", result=fake.result(7.5, 7.25), labels={"for": "paper"},
                    artifacts=[{"name": "config.json", "bytes": 300_000, "sha256": "x"}]),
        3: fake.job(3, name="three", params={"wbits": 3, "act_order": False},
                    result=fake.result(8.75, 7.25, size_bytes=230_000, bits_per_weight=3.25)),
        4: fake.job(4, status="failed", error={
            "code": "dataset_too_short", "detail": "data set 'file:tiny.txt' has 3 tokens, and a "
            "window takes 2048", "hint": "take a longer text, or a shorter --seqlen",
            "retryable": False}),
        5: fake.job(5, status="cancelled", owner="other"),
        6: fake.job(6, status="running", finished_at=None, progress={
            "phase": "quantize", "layer": 6, "layers_total": 16, "fraction": 0.43,
            "eta_seconds": 72.4, "tokens_per_second": 13149.2}),
        7: fake.job(7, status="queued", started_at=None, finished_at=None, queue_position=2,
                    name=fake.HOSTILE + " and a name that is longer than any line has room for",
                    labels={"a": fake.HOSTILE}, private=True, attempt=2),
        8: fake.job(8, status="queued", started_at=None, finished_at=None, queue_position=1,
                    params={"model": fake.HOSTILE}, paused={
                        "code": "disk_full", "detail": "the disk has 1 GB left",
                        "hint": "make room", "since": fake.stamp(60)})}
    made.layers = {2: fake.LAYERS, 3: fake.LAYERS[:1]}
    # what runs or waits goes on: its times would differ from run to run
    made.jobs[6]["started_at"] = fake.stamp(3600 * 5)
    made.jobs[6]["created_at"] = fake.stamp(3600 * 5 + 60)
    return made


def check_adopt():
    made = fake.Fake()
    reason = {"code": "folder_damaged", "detail": "'x" + fake.HOSTILE + "' is missing",
              "hint": "bring the folder back from a copy, or delete it"}
    orphan = {"object": "orphan", "id": 3, "state": "finished", "adoptable": True, "reason": None,
              "path": "/x/3", "bytes": 4_200_000, "changed_at": None, "model": "olmoe-demo",
              "params": {"wbits": 4, "format": "gptq"}}
    made.answers["/v1/orphans?after=0"] = (200, {
        "object": "list", "data": [orphan], "has_more": True})
    made.answers["/v1/orphans?after=3"] = (200, {
        "object": "list", "has_more": False, "data": [
            {**orphan, "id": 12, "state": "damaged", "adoptable": False, "reason": reason,
             "model": fake.HOSTILE, "params": None}]})
    check("adopt-list", run(made, "admin", "adopt"))
    assert [o["id"] for o in check_json(run(made, "admin", "adopt", "--json"))] == [3, 12]
    made.answers["/v1/orphans?after=0"] = (200, {"object": "list", "data": [], "has_more": False})
    check("adopt-none", run(made, "admin", "adopt"))
    assert run(made, "admin", "adopt", "3", "--all").returncode == 2
    assert run(made, "admin", "backup", "--all").returncode == 2


def check_divergence(made):
    """Lists sort by it; and of four jobs no figure is cut, however many fit beside each other."""
    four = (1, 2, 3, 4)
    kept = {number: made.jobs[number] for number in four}
    for number, kl in zip(four, (0.3, 0.1, 0.2, None)):
        made.jobs[number] = fake.job(number, name="a long name of a job", result=fake.result(
            7.5, 7.25, difference={} if kl is None else {"wikitext2": {
                "kl_mean": kl, "kl_stderr": 0.001, "same_top": 0.9}}))
    order = [job["id"] for job in check_json(
        run(made, "list", "--sort", "divergence", "--json"))["data"]]
    assert order[:3] == [2, 3, 1] and 4 in order[3:], order
    for width in (60, 80, 120):
        shown = run(made, "compare", *map(str, four), width=width).stdout
        assert shown.count("± 0.0010") == 3 and shown.count(" 7.500") == 4, shown
        assert max(map(len, shown.splitlines())) <= width, shown
    made.jobs.update(kept)


def check_jobs():
    made = queue()
    for width in (80, 160):
        check(f"list-{width}", run(made, "list", width=width))
        check(f"show-{width}", run(made, "show", "2", width=width))
        check(f"compare-{width}", run(made, "compare", "1", "2", "3", width=width))
    for name, number in (("failed", 4), ("cancelled", 5), ("running", 6), ("hostile", 7),
                         ("paused", 8)):
        check(f"show-{name}", run(made, "show", str(number)))
    check("show-40", run(made, "show", "4", width=40))
    check("compare-40", run(made, "compare", "1", "2", "3", width=40))
    check("watch-failed", run(made, "watch", "4"), 1)
    check("watch-cancelled", run(made, "watch", "5"), 4)
    check("list-40", run(made, "list", width=40))
    check("list-120", run(made, "list", width=120))
    made.listed.clear()
    check("list-sort", run(made, "list", "--sort", "perplexity", "--limit", "3"))
    check("list-label", run(made, "list", "--label", "for=paper"))
    assert made.listed == [3, 20], "more came than is shown"
    both = ("list", "--label", "for=paper", "--label", "for=other", "--json")
    assert not check_json(run(made, *both))["data"]
    rtn = check_json(run(made, "list", "--method", "rtn", "--json"))["data"]
    assert [job["params"]["method"] for job in rtn] == ["rtn"] * len(rtn), rtn
    assert run(made, "list", "--label", "for").returncode == 2
    assert run(made, "list", "--sort", "x").returncode == 2
    assert run(made, "list", "--csv", "--json").returncode == 2
    order = [job["id"] for job in check_json(run(made, "list", "--sort", "size", "--json"))["data"]]
    assert order[:3] == [3, 2, 1], order
    check_divergence(made)
    check("list-markdown", run(made, "list", "--markdown"))
    check("show-markdown", run(made, "show", "2", "3", "--markdown"))
    check("compare-markdown", run(made, "compare", "2", "3", "--markdown"))
    done = subprocess.run([QUANTCTL, "--server", made.url, "list", "--csv"], capture_output=True,
                          check=True, timeout=60).stdout.decode()
    assert "\n" not in done.replace("\r\n", ""), "RFC 4180 ends lines with CR LF"
    rows = list(csv.DictReader(io.StringIO(done, newline="")))
    assert [row["job"] for row in rows] == ["8", "7", "6", "5", "4", "3", "2", "1"]
    assert (rows[5]["wikitext2"], rows[5]["wikitext2 change %"]) == ("8.75", "+20.69"), rows[5]
    assert (rows[5]["size"], rows[5]["time"], rows[5]["act-order"]) == ("230000", "72", "no")
    assert "\x1b" not in done
    made.jobs[3]["name"] = '=HYPERLINK("x", 1)'
    done = run(made, "show", "3", "--csv").stdout
    assert next(csv.DictReader(io.StringIO(done)))["name"] == "'" + made.jobs[3]["name"], done
    made.jobs[2]["notify"] = "https://hooks.example.org/..."
    made.jobs[2]["params"].update(rules=[{"modules": ["self_attn"], "wbits": 8}, {
        "layers": "0-3,15", "experts": "7", "wbits": 4, "groupsize": 64, "sym": True}],
        refine=3, preset="best", drift=0.5, **{"for": "vllm"})
    check("show-rules", run(made, "show", "2"))
    check("compare-rules", run(made, "compare", "2", "3"))
    made.jobs[3]["params"].update(rules=[], refine=0, preset=None, drift=0.0, target_bits=3.5)
    check("compare-rules-markdown", run(made, "compare", "2", "3", "--markdown"))
    both = check_json(run(made, "compare", "2", "3", "--json"))["parameters"]
    assert both["refine"] == [3, 0] and both["target_bits"] == [None, 3.5], both
    assert list(csv.DictReader(io.StringIO(run(made, "show", "2", "--csv").stdout)))[0]["rules"] == (
        "self_attn:wbits=8, layers=0-3,15/experts=7:wbits=4,groupsize=64,sym=true")
    del made.jobs[2]["notify"]
    for number in (2, 3):
        for name in ("rules", "refine", "preset", "drift", "target_bits", "for"):
            made.jobs[number]["params"].pop(name, None)
    made.jobs[3]["name"] = "a|b"
    assert "a\\|b" in run(made, "show", "3", "--markdown").stdout
    made.jobs[3]["name"] = "three"
    check("show-several", run(made, "show", "5", "99", "4"), 3)
    check("wait", run(made, "wait", "1", "5", "4"), 1)
    assert run(made, "wait", "1", "2").returncode == 0
    assert run(made, "wait", "1", "5").returncode == 4
    assert run(made, "wait", "4", "99").returncode == 3
    assert [j["id"] for j in check_json(run(made, "wait", "1", "5", "--json"), 4)] == [1, 5]
    assert check_json(run(made, "wait", "1", "--json"))["id"] == 1
    check("watch-several", run(made, "watch", "5", "4"), 1)
    assert len(check_json(run(made, "watch", "5", "4", "--json"), 1)) == 2
    assert run(made, "watch", "5", "4", "--save", "x").returncode == 2
    check("cancel-several", run(made, "cancel", "6", "7"))
    check("hold", run(made, "hold", "7", "8"))
    check("list-held", run(made, "list"))
    check("show-held", run(made, "show", "8"))
    check("release", run(made, "release", "7"))
    check("prio", run(made, "prio", "8", "-5"))
    assert made.jobs[8]["priority"] == -5
    assert run(made, "prio", "8", "101").returncode == run(made, "prio", "8", "x").returncode == 2
    assert check_json(run(made, "prio", "8", "2", "--json"))["priority"] == 2
    check("retry-several", run(made, "retry", "4", "5"))
    assert run(made, "retry", "4", "5", "--save", "x").returncode == 2
    for width in (40, 80, 120):
        check(f"models-{width}", run(made, "models", width=width))
        check(f"datasets-{width}", run(made, "datasets", width=width))
    assert check_json(run(made, "models", "--json")) == fake.MODELS
    assert check_json(run(made, "datasets", "--json")) == fake.DATASETS
    made.answers["/v1/models"] = 200, fake.listing([])
    check("models", run(made, "models"))
    check("unknown-job", run(made, "show", "99"), 3)
    check("ascii", run(made, "show", "2", LC_ALL="C"))
    assert len(check_json(run(made, "list", "--json"))["data"]) == 8
    assert check_json(run(made, "show", "7", "--json"))["name"].startswith(fake.HOSTILE)
    both = check_json(run(made, "compare", "2", "3", "--json"))
    assert both["parameters"] == {"wbits": [4, 3], "act_order": [True, False]}, both
    change = both["jobs"][1]["perplexity"]["wikitext2"]["change_percent"]
    assert abs(change - (8.75 / 7.25 - 1) * 100) < 1e-9, both
    # the baseline of a job that has none is what another one of the same model has measured
    made.jobs[2]["result"]["baseline"]["wikitext2"] = None
    both = check_json(run(made, "compare", "2", "1", "--json"))
    assert both["jobs"][0]["perplexity"]["wikitext2"]["baseline"] == 7.25, both
    made.jobs = {}
    check("list-empty", run(made, "list"))
    made.answers["/v1/jobs"] = fake.problem(401, "unauthorized", "no token was sent")
    check("unauthorized", run(made, "list"), 3)
    made.answers["/v1/jobs"] = fake.problem(403, "forbidden", "job '3' is private\x1b[31m", "ask")
    check("forbidden", run(made, "list"), 3)
    made.answers["/v1/jobs"] = fake.problem(500, "internal", "it broke")
    check("server-error", run(made, "list"), 3)
    made.stop()


def check_doctor():
    made = fake.Fake()
    made.answers["/v1/version"] = 200, {"version": version()}
    done = run(made, "doctor")
    done.stdout = done.stdout.replace(made.url, "SERVER")
    check("doctor", done)
    assert check_json(run(made, "doctor", "--json"))["healthy"]
    status = json.loads(json.dumps(fake.STATUS))
    status["state"]["bytes_free"] = 5_000_000
    status["cache"]["bytes_free"] = 5_000_000_000
    status["roots"][0]["readable"] = False
    status["hub"].update(failed_at=fake.stamp(7210), error="Couldn't resolve host name")
    made.answers.update({
        "/v1/version": (200, {"version": "99.0.0"}), "/v1/status": (200, status),
        "/v1/whoami": (200, {"owner": fake.HOSTILE, "role": "read", "auth": "token"}),
        "/readyz": fake.problem(503, "disk_full", "the disk is full", "make room"),
        "/v1/devices": (200, fake.listing([]))})
    done = run(made, "doctor")
    done.stdout = done.stdout.replace(made.url, "SERVER")
    check("doctor-ill", done, 1)
    assert not check_json(run(made, "doctor", "--json"), 1)["healthy"]
    # an older daemon, which does not know all that is asked
    made.answers.update({path: fake.problem(404, "not_found", "nothing")
                         for path in ("/v1/whoami", "/v1/status")})
    assert run(made, "doctor").stdout.count("nothing") == 0
    made.answers["/v1/version"] = fake.problem(401, "unauthorized", "no token was sent")
    check("doctor-token", run(made, "doctor"), 1)
    made.stop()


def check_ps():
    """Starts come from the median of like jobs; what cannot be known is left out."""
    made = fake.Fake()
    waits = {"status": "queued", "started_at": None, "finished_at": None}
    made.jobs = {
        3: fake.job(3, status="running", finished_at=None,
                    progress={"phase": "quantize", "fraction": 0.4, "eta_seconds": 120}),
        4: fake.job(4, **waits, queue_position=2, owner="other"),
        5: fake.job(5, **waits, queue_position=1),
        6: fake.job(6, **waits, held=True),
        7: fake.job(7, **waits, queue_position=4)}
    made.past = [fake.job(1, result=fake.result(7, None)),
                 fake.job(2, result=fake.result(7, None), params={"wbits": 3})]
    made.answers["/v1/devices"] = (200, fake.listing([{**fake.DEVICE, "job": 3}]))
    for width in (40, 80, 120):
        check(f"ps-{width}", run(made, "ps", width=width))
    assert len(check_json(run(made, "ps", "--json"))["jobs"]) == 5
    made.jobs[3]["progress"] = None
    made.jobs[7]["params"]["wbits"] = 8
    check("ps-unknown", run(made, "ps"))
    made.jobs = {}
    made.answers["/v1/devices"] = (200, fake.listing([fake.DEVICE]))
    check("ps-idle", run(made, "ps"))
    made.stop()


def check_ps_cluster():
    """A cluster's jobs, those that wait there too; a device that cannot be used says why."""
    made = fake.Fake()
    on = {"status": "running", "finished_at": None}
    engine = {"name": "slurm", "id": 70, "node": "node7", "state": "RUNNING", "reason": ""}
    made.jobs = {
        1: fake.job(1, **on, progress={"phase": "quantize", "fraction": 0.4, "eta_seconds": 120}),
        2: fake.job(2, **on, engine={**engine, "node": "n" + fake.HOSTILE}, progress={
            "phase": "quantize", "fraction": 0.25, "eta_seconds": 3000}),
        3: fake.job(3, **on, engine={**engine, "state": "PENDING", "node": None}),
        4: fake.job(4, status="queued", started_at=None, finished_at=None, queue_position=1)}
    made.jobs[1]["engine"] = engine  # an earlier run; now a device of this machine has it
    made.past = [fake.job(9, result=fake.result(7, None))]
    cluster = {"id": "slurm", "kind": "slurm", "name": "cluster demo", "job": None,
               "jobs": {"waiting": 1, "running": 1}, "error": None}
    made.answers["/v1/devices"] = (200, fake.listing([{**fake.DEVICE, "job": 1}, cluster]))
    for width in (40, 80):
        check(f"ps-cluster-{width}", run(made, "ps", width=width))
    made.jobs[3]["engine"].update(reason="Resources" + fake.HOSTILE, starts_at=fake.stamp(-185400))
    for width in (40, 80, 120):
        check(f"list-cluster-{width}", run(made, "list", width=width))
    check("show-cluster", run(made, "show", "3"))
    made.answers["/v1/version"] = 200, {"version": version()}
    done = run(made, "doctor")
    done.stdout = done.stdout.replace(made.url, "SERVER")
    check("doctor-cluster", done)
    cluster["error"] = {"code": "slurm_unreachable", "detail": "squeue: " + fake.HOSTILE,
                        "hint": "start slurmctld"}
    made.jobs = {}
    cluster["jobs"] = {"waiting": 0, "running": 0}
    made.answers["/v1/devices"] = (200, fake.listing([fake.DEVICE, cluster]))
    check("ps-cluster-error", run(made, "ps"))
    made.stop()


def check_logs():
    """Every event that says something, over several pages, cleaned."""
    made = fake.Fake()
    made.page = 4
    made.jobs = {1: fake.job(1), 2: fake.job(2)}
    for kind, data in (
            ("job.queued", {"attempt": 1}), ("job.reordered", {"priority": 3, "held": True}),
            ("job.started", {"device": "cuda:0", "attempt": 1}), ("phase.started", {"phase": "load"}),
            ("plan.finished", {"chosen": {"bits": 3.004, "kl": 0.0123}}),
            ("progress", {"phase": "load", "fraction": 0.5}), ("layer.finished", fake.LAYERS[0]),
            ("job.interrupted", {"reason": "the daemon stopped"}), ("job.paused", {"detail": "no room"}),
            ("job.resumed", {"layer": 1}), ("job.warning", {"code": "x", "detail": fake.HOSTILE}),
            ("eval.finished", {"set": "ptb", "perplexity": 7.25, "stderr": 0.031}),
            ("new.kind", {"x": 1}), ("job.cancelling", {}), ("job.cancelled", {}),
            ("job.failed", {"error": {"detail": "it broke", "hint": "mend it"}}),
            ("job.succeeded", {})):
        made.push(kind, **data)
    check("logs", run(made, "logs", "1"))
    assert len(check_json(run(made, "logs", "1", "--json"))) == 17
    assert run(made, "logs", "1", "2").stdout.count("job 2\n") == 1
    assert run(made, "logs", "9").returncode == 3
    made.stop()


def version():
    return run(None, "--version").stdout.split()[1]


def check_down():
    """Without the daemon, and without the right to its socket."""
    with tempfile.TemporaryDirectory(prefix="quantctl-") as folder:
        os.chmod(folder, 0o755)
        path = os.path.join(folder, "quantd.sock")
        for name, words in (("down", ["list"]), ("down-doctor", ["doctor"]),
                            ("down-version", ["version"])):
            done = run(None, "--server", "unix:" + path, *words)
            done.stdout = done.stdout.replace(path, "/SOCKET")
            done.stderr = done.stderr.replace(path, "/SOCKET")
            check(name, done, {"list": 3, "doctor": 1, "version": 0}[words[0]])
        assert not check_json(run(None, "--server", "unix:" + path, "doctor", "--json"),
                              1)["healthy"]
        listener = socket.socket(socket.AF_UNIX)
        listener.bind(path)
        os.chmod(path, 0)
        if os.getuid() == 0:
            return  # root may write everywhere
        done = run(None, "--server", "unix:" + path, "doctor")
        assert done.returncode == 1 and "may not write" in done.stdout, done
        done = run(None, "--server", "unix:" + path, "list")
        assert done.returncode == 3 and "usermod -aG" in done.stderr, done


def check_usage():
    for name, words in (("verb", ["quantise"]), ("option", ["list", "--staus", "x"]),
                        ("value", ["list", "--status"]), ("id", ["show", "x"]),
                        ("plan-save", ["quantize", "m", "wikitext2", "--target-bits", "3",
                                       "--plan-only", "--save", "d"]),
                        ("few", ["compare", "1"]), ("many", ["export", "1", "2"])):
        check("usage-" + name, run(None, *words), 2)
    wide = [line for verb in [[], *([name] for name in re.findall(
                r"^  ([a-z][a-z-]*)\b", run(None, "help").stdout, re.MULTILINE) if name != "help")]
            for line in run(None, "help", *verb).stdout.splitlines() if len(line) > 80]
    if wide:
        failures.append("help is wide: " + "\n".join(wide))
    assert run(None, "help", "compare").stdout == run(None, "compare", "--help").stdout


check_jobs()
check_adopt()
check_doctor()
check_down()
check_ps()
check_ps_cluster()
check_logs()
check_usage()
finish()
