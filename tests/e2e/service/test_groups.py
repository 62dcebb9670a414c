#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Groups of jobs on a real daemon: all members or none, through kill -9, and what they share.

Usage: test_groups.py QUANTD QUANTCTL SOURCE
"""
import functools
import http.client
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "../restore"))

import place  # noqa: E402

import unix_http  # noqa: E402

QUANTD, QUANTCTL, SOURCE = sys.argv[1:4]
HOME = tempfile.mkdtemp(prefix="quantd-groups-")
SOCKET = HOME + "/quantd.sock"
ask = functools.partial(unix_http.ask, SOCKET)
start = functools.partial(place.start, QUANTD, SOURCE, HOME)
JOB = {"model": "olmoe-demo", "dataset": "file:short.txt", "eval": "file:short.txt",
       "nsamples": 4, "seqlen": 64}
LISTS = {"wbits": [3, 4], "groupsize": [64, 128]}
ENDED = ("succeeded", "failed", "cancelled")


def submit(job, lists, **more):
    status, group = ask("POST", "/v1/groups", {"job": job, "lists": lists, **more})
    assert status == 202, group
    return group


def wait(number, seconds=300, enough=lambda group: group["status"] in ENDED):
    end = time.monotonic() + seconds
    while True:
        status, group = ask("GET", f"/v1/groups/{number}")
        assert status == 200, group
        if enough(group):
            return group
        assert time.monotonic() < end, group
        time.sleep(0.02)


def kill(daemon):
    daemon.send_signal(signal.SIGKILL)
    daemon.wait()
    return start()


def figures(group):
    """What must not depend on when the daemon was killed."""
    found = []
    for member in group["members"]:
        files = ask("GET", member["url"] + "/artifacts")[1]["data"]
        hashes = {each["name"]: each["sha256"] for each in files if each["name"].endswith(".safetensors")}
        assert hashes and member["pareto"] in (True, False), member
        found.append((member["values"], member["perplexity"]["file:short.txt"]["value"],
                      member["difference"]["file:short.txt"]["kl_mean"], hashes))
    return found


def originals(group):
    """How many windows of the original each job took from what an earlier one had kept."""
    return [ask("GET", member["url"])[1]["result"]["original"]["cached_windows"]
            for member in group["members"]]


def survives(daemon):
    """Undisturbed, and killed between members and in one: the same figures and bytes."""
    first = wait(submit(JOB, LISTS, name="first")["id"])
    assert first["status"] == "succeeded" and first["seconds"] > 0, first
    assert [member["values"] for member in first["members"]] == [
        {"wbits": w, "groupsize": g} for w in (3, 4) for g in (64, 128)], first
    windows = first["members"][0]["perplexity"]["file:short.txt"]["windows"]
    assert originals(first) == [0] + [windows] * 3, originals(first)
    assert any(member["pareto"] for member in first["members"]), first

    second = submit(JOB, LISTS, name="second")
    for n in (1, 2, 3):  # in the first moments after a member has ended, and a little later
        wait(second["id"], enough=lambda group, n=n: group["counts"]["succeeded"] >= n)
        time.sleep(0.05 * n)
        daemon = kill(daemon)
    group = wait(second["id"])
    assert group["status"] == "succeeded" and figures(group) == figures(first), group
    assert len(ask("GET", f"/v1/jobs?group={second['id']}")[1]["data"]) == 4
    return daemon


def phases(number):
    events = ask("GET", f"/v1/jobs/{number}/events?limit=500")[1]["data"]
    return [event["data"]["phase"] for event in events if event["type"] == "phase.started"]


def plans():
    """What a plan measures is the same for each target: once for all of them, with the same bytes."""
    job = {**JOB, "groupsize": 64, "nsamples": 8}
    group = wait(submit(job, {"target_bits": [2.5, 3.0]})["id"])
    assert group["status"] == "succeeded", group
    one, other = (ask("GET", member["url"])[1] for member in group["members"])
    assert "plan" in phases(one["id"]) and "plan" not in phases(other["id"])
    assert one["result"]["plan"]["curve"] == other["result"]["plan"]["curve"]
    for name in os.listdir(HOME + "/cache/states"):
        path = f"{HOME}/cache/states/{name}"
        with open(path, "rb") as file:
            data = file.read()
        if b'"measured"' in data:  # damaged, it is measured again
            with open(path, "wb") as file:
                file.write(data.replace(b"0.", b"0.1", 1)[:len(data)])
    again = wait(submit(job, {"target_bits": [3.0]})["id"])
    assert "plan" in phases(again["members"][0]["id"]), again
    assert figures(again) == figures(group)[1:], again


def atomic(daemon):
    """Killed while a group comes in, the queue has all of it or nothing; the key finds it again."""
    lists = {"seed": list(range(32)), "wbits": [3, 4]}
    seen = set()
    began = time.monotonic()
    whole = submit({**JOB, "private": True}, lists)
    took = time.monotonic() - began
    ask("POST", f"/v1/groups/{whole['id']}/cancel")
    wait(whole["id"])
    for share in (0.3, 0.6, 0.9, 1.2, 2.0):  # of what it takes undisturbed
        before = ask("GET", "/v1/groups?limit=1")[1]["data"][0]["id"]
        thread = threading.Thread(target=lambda: attempt(lists), daemon=True)
        thread.start()
        time.sleep(took * share)
        daemon = kill(daemon)
        thread.join(60)
        groups = [group for group in ask("GET", "/v1/groups")[1]["data"] if group["id"] > before]
        assert len(groups) <= 1, groups
        seen.add(len(groups))
        for group in groups:
            assert sum(group["counts"].values()) == 64, group
            assert ask("POST", f"/v1/groups/{group['id']}/cancel")[0] in (202, 409)
            wait(group["id"])
    print(f"64 jobs come in within {took:.2f} s; groups left by kill -9: {sorted(seen)}")
    return daemon


def attempt(lists):
    try:
        ask("POST", "/v1/groups", {"job": JOB, "lists": lists})
    except (OSError, ValueError, http.client.HTTPException):
        pass  # the daemon was killed


def refused():
    """One member is wrong: none is there."""
    before = ask("GET", "/v1/jobs?limit=1")[1]["data"][0]["id"]
    status, problem = ask("POST", "/v1/groups", {
        "job": JOB, "lists": {"wbits": [4], "groupsize": [64, 7]}})
    assert status == 422 and problem["field"] == "groupsize", problem
    assert "member 2 of 2 (wbits 4, groupsize 7)" in problem["detail"], problem
    assert ask("GET", "/v1/jobs?limit=1")[1]["data"][0]["id"] == before
    assert ask("GET", "/v1/groups/99")[0] == 404


def ends(daemon):
    """Cancelled and deleted, it is gone; a job that runs stops too."""
    group = submit({**JOB, "nsamples": 128, "seqlen": 512}, {"seed": [1, 2, 3]})
    wait(group["id"], enough=lambda group: group["counts"]["running"] == 1)
    status, group = ask("POST", f"/v1/groups/{group['id']}/cancel")
    assert status == 202 and group["counts"]["cancelled"] == 2, group
    group = wait(group["id"])
    assert group["status"] == "cancelled", group
    for member in group["members"]:
        assert ask("DELETE", member["url"])[0] == 204
    assert ask("GET", f"/v1/groups/{group['id']}")[0] == 404
    return daemon


def estimate():
    """The sum of what its members would take, by the jobs that have run."""
    status, value = ask("POST", "/v1/groups/estimate", {"job": JOB, "lists": LISTS})
    assert status == 200 and len(value["members"]) == 4, value
    each = [member["estimate"]["seconds"] for member in value["members"]]
    assert abs(value["seconds"] - sum(each)) < 1e-6 and all(one > 0 for one in each), value


def client():
    """quantctl submits a sweep and ends with its table."""
    done = subprocess.run(
        [QUANTCTL, "--server", "unix:" + SOCKET, "quantize", "olmoe-demo", "--method", "rtn",
         "--eval", "file:short.txt", "--seqlen", "64", "--wbits", "3,4", "--name", "mine"],
        capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done
    lines = done.stdout.splitlines()
    assert "succeeded" in done.stdout and lines[-1].startswith("perplexity and divergence"), lines
    assert lines[-4].split()[:3] == ["job", "bits", "mean"], lines
    assert lines[-3].split()[1] == "3" and lines[-2].split()[1] == "4", lines


def main():
    os.makedirs(HOME + "/state")
    place.write_text(SOURCE, HOME, 20000)
    daemon = start()
    try:
        daemon = survives(daemon)
        estimate()
        refused()
        client()
        plans()
        daemon = atomic(daemon)
        daemon = ends(daemon)
    finally:
        daemon.kill()
        daemon.wait()
    shutil.rmtree(HOME)


main()
