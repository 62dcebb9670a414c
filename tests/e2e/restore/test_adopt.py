#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Folders of jobs whose database is lost or older: listed, adopted, or refused with a reason.

Usage: test_adopt.py QUANTD QUANTCTL SOURCE
"""
import functools
import hashlib
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time

import place

import unix_http

QUANTD, QUANTCTL, SOURCE = sys.argv[1:4]
HOME = tempfile.mkdtemp(prefix="quantd-adopt-")
STATE, SOCKET, JOBS = HOME + "/state", HOME + "/quantd.sock", HOME + "/state/jobs"
ask = functools.partial(unix_http.ask, SOCKET)
start = functools.partial(place.start, QUANTD, SOURCE, HOME)
JOB = {"model": "olmoe-demo", "dataset": "file:short.txt", "eval": "file:short.txt", "wbits": 4,
       "groupsize": 128, "nsamples": 8, "seqlen": 64, "name": "mine", "labels": {"a": "b"}}


def lose(process, copy=None):
    """The daemon is gone, and its database; @copy takes its place. Return: a new daemon."""
    process.send_signal(signal.SIGKILL)
    process.wait()
    for name in os.listdir(STATE):
        if name.startswith("quantd.db"):
            os.unlink(f"{STATE}/{name}")
    if copy:
        shutil.copy(copy, STATE + "/quantd.db")
    return start()


def run(request, status="succeeded"):
    code, job = ask("POST", "/v1/jobs", request)
    assert code == 202, job
    for _ in range(6000):
        job = ask("GET", f"/v1/jobs/{job['id']}")[1]
        if job["status"] in ("succeeded", "failed"):
            assert job["status"] == status, job
            return job
        time.sleep(0.02)
    raise AssertionError(job)


def quantctl(*arguments, status=0):
    done = subprocess.run([QUANTCTL, "--server", "unix:" + SOCKET, *arguments],
                          capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == status, done
    return done


def orphans():
    return {orphan["id"]: orphan for orphan in
            json.loads(quantctl("--json", "admin", "adopt").stdout)}


def digest(folder):
    """{path: (mode, hash)} of all below @folder, links not followed."""
    found = {}
    for top, folders, files in os.walk(folder):
        for name in folders + files:
            path = f"{top}/{name}"
            mode = os.lstat(path).st_mode
            data = open(path, "rb").read() if os.path.isfile(path) else b""
            found[path] = mode, hashlib.sha256(data).hexdigest()
    return found


# -------- folders that must be refused --------

def edit(path, change):
    with open(path, encoding="utf-8") as file:
        value = json.load(file)
    change(value)
    with open(path, "w", encoding="utf-8") as file:
        json.dump(value, file)


def both_lists(folder, change):
    """The same change of the manifest and of what result.json says of it."""
    edit(folder + "/artifact/manifest.json", lambda value: change(value["files"]))
    data = open(folder + "/artifact/manifest.json", "rb").read()

    def follow(value):
        change(value["artifacts"])
        value["artifacts"][-1].update(bytes=len(data), sha256=hashlib.sha256(data).hexdigest())
    edit(folder + "/result.json", follow)


def flip(path, at):
    with open(path, "r+b") as file:
        file.seek(at)
        byte = file.read(1)[0]
        file.seek(at)
        file.write(bytes([byte ^ 1]))


def replace_by_link(path, target):
    os.unlink(path)
    os.symlink(target, path)


def link_folder(folder):
    os.rename(folder + "/artifact", HOME + "/elsewhere")
    os.symlink(HOME + "/elsewhere", folder + "/artifact")


def list_again(files):
    files.insert(1, files[0])  # before manifest.json


def climb(files):
    files[0]["name"] = "../../../quantd.db"


def put_text(path, text):
    with open(path, "w", encoding="utf-8") as file:
        file.write(text)


def new_params(value):
    value["params"]["method"] = "of tomorrow"


# name: (what is done to a copy of a good folder, the code, a part of the reason)
DAMAGES = {
    "a byte": (lambda f: flip(f + "/artifact/model-00001-of-00004.safetensors", 70000),
               "folder_damaged", "model-00001-of-00004.safetensors' does not have the hash"),
    "a shorter file": (lambda f: os.truncate(f + "/artifact/tokenizer.json", 100),
                       "folder_damaged", "'artifact/tokenizer.json' does not have the size"),
    "a missing file": (lambda f: os.unlink(f + "/artifact/config.json"),
                       "folder_damaged", "'artifact/config.json' is missing"),
    "another file": (lambda f: put_text(f + "/artifact/pytorch_model.bin", "x"),
                     "folder_damaged", "'artifact/pytorch_model.bin' is not in manifest.json"),
    "a folder": (lambda f: os.mkdir(f + "/artifact/more"),
                 "folder_damaged", "'artifact/more' is not in manifest.json"),
    "a link": (lambda f: os.symlink("/etc/passwd", f + "/artifact/generation_config.json"),
               "folder_unsafe", "'generation_config.json' is a link"),
    "a listed link": (lambda f: replace_by_link(f + "/artifact/config.json", "/etc/passwd"),
                      "folder_unsafe", "'config.json' is a link"),
    "a link for artifact": (link_folder, "folder_unsafe", "'artifact' is a link"),
    "a link beside it": (lambda f: os.symlink("/", f + "/codes"),
                         "folder_unsafe", "'codes' is a link"),
    "a fifo": (lambda f: os.mkfifo(f + "/artifact/pipe"), "folder_unsafe", "'pipe' is a link"),
    "names twice": (lambda f: both_lists(f, list_again), "folder_damaged", "is listed twice"),
    "a name that climbs": (lambda f: both_lists(f, climb),
                           "folder_damaged", "without a good name"),
    "an empty manifest": (lambda f: put_text(f + "/artifact/manifest.json", '{"files": []}'),
                          "folder_damaged", "do not list the same files"),
    "no JSON": (lambda f: put_text(f + "/artifact/quantd.json", "{"), "folder_damaged", "quantd"),
    "another result": (lambda f: edit(f + "/result.json", lambda value: value.update(
        perplexity={"file:short.txt": {"value": 1.0, "sha256": "x"}})),
                       "folder_damaged", "do not say the same"),
    "text for figures": (lambda f: edit(f + "/result.json", lambda value: value.update(
        seconds={"total": "x"})), "folder_damaged", "lacks figures"),
    "no result": (lambda f: os.unlink(f + "/result.json"),
                  "folder_damaged", "'result.json' is missing"),
    "unknown parameters": (lambda f: edit(f + "/artifact/quantd.json", new_params),
                           "folder_damaged", ""),
}
# The same of a folder that has codes/.
CODES_DAMAGES = {
    "a byte of the codes": (lambda f: flip(f + "/codes/model-00001-of-00004.safetensors", 70000),
                            "folder_damaged",
                            "'codes/model-00001-of-00004.safetensors' does not have the hash"),
    "shorter codes": (lambda f: os.truncate(f + "/codes/config.json", 100),
                      "folder_damaged", "'codes/config.json' does not have the size"),
    "more in codes": (lambda f: put_text(f + "/codes/tokenizer.json", "{}"),
                      "folder_damaged", "'codes/tokenizer.json' is not in manifest.json"),
    "no list of codes": (lambda f: put_text(f + "/codes/manifest.json", "{}"),
                         "folder_damaged", "'codes/manifest.json' lists no files"),
}


def check_refusals(good, with_codes):
    cases = {**DAMAGES, **CODES_DAMAGES}
    if os.geteuid() == 0:
        cases["another user's"] = (lambda f: os.chown(f + "/artifact/config.json", 12345, -1),
                                   "folder_unsafe", "'config.json' belongs to another user")
    for number, (name, (damage, code, text)) in enumerate(cases.items(), 1000):
        folder = f"{JOBS}/{number}"
        shutil.copytree(with_codes if name in CODES_DAMAGES else good, folder)
        damage(folder)
        before = digest(folder)
        status, problem = ask("POST", f"/v1/orphans/{number}/adopt", {})
        for _ in range(100):
            if status != 202:
                break
            time.sleep(0.05)
            status, problem = ask("POST", f"/v1/orphans/{number}/adopt", {})
        assert (status, problem["code"]) == (409, code), (name, problem)
        assert text in problem["detail"] and f"folder {number}" in problem["detail"], problem
        assert ask("GET", f"/v1/jobs/{number}")[0] == 404, name
        assert digest(folder) == before, name
        if "remove it: the checkpoint itself can be used" in problem.get("hint", ""):
            assert name in CODES_DAMAGES, name
            shutil.rmtree(folder + "/codes")
            assert orphans()[number]["adoptable"], name
        shutil.rmtree(folder)
        shutil.rmtree(HOME + "/elsewhere", ignore_errors=True)
    os.symlink(good, f"{JOBS}/1000")
    assert ask("POST", "/v1/orphans/1000/adopt")[1]["code"] == "folder_unsafe"
    os.unlink(f"{JOBS}/1000")
    assert ask("POST", "/v1/orphans/5000/adopt")[1]["code"] == "orphan_not_found"
    assert ask("POST", "/v1/orphans/1/adopt", {"owner": "a b"})[0] == 422
    assert ask("POST", "/v1/orphans/1/adopt", {"private": False})[0] == 422
    print(f"ok: {len(cases) + 1} folders refused, each with its reason, and left as they were")


# -------- folders that are good --------

def check_list(dense):
    found = orphans()
    assert {number: orphan["state"] for number, orphan in found.items()} == {
        1: "finished", 2: "finished", 3: "evaluation", 4: "unfinished"}, found
    assert found[1]["model"] == "olmoe-demo" and found[1]["params"]["wbits"] == 4, found[1]
    assert found[2]["params"]["format"] == dense["params"]["format"] == "gguf"
    assert found[1]["bytes"] > 1 << 20 and found[1]["adoptable"] and not found[1]["reason"]
    assert not found[4]["adoptable"] and found[4]["reason"]["hint"], found[4]
    text = quantctl("admin", "adopt").stdout
    assert "orphan" not in text and "its job did not come to its end" in text, text
    first = ask("GET", "/v1/orphans?limit=1")[1]
    assert first["has_more"] and [orphan["id"] for orphan in first["data"]] == [1], first
    last = ask("GET", "/v1/orphans?after=3")[1]
    assert not last["has_more"] and [orphan["id"] for orphan in last["data"]] == [4], last
    log = open(HOME + "/log", encoding="utf-8").read()
    assert "quantctl admin adopt" in log, log
    print("ok: the list says what each folder is")


def without_seconds(layers):
    return [[{k: v for k, v in matrix.items() if k != "seconds"} for matrix in layer["matrices"]]
            for layer in layers]


def check_adopted(was, layers, files, measured):
    number = was["id"]
    done = quantctl("admin", "adopt", str(number))
    assert f"job {number} is a private job" in done.stdout, done
    job = ask("GET", f"/v1/jobs/{number}")[1]
    for key in ("id", "kind", "status", "model", "artifacts", "urls", "owner"):
        assert job[key] == was[key], (key, job[key], was[key])
    same = {**was["params"], "batch": job["params"]["batch"]}
    assert job["params"] == same, (job["params"], same)
    assert {**job["result"], "baseline": None} == {**was["result"], "baseline": None}
    assert job["private"] and not job["name"] and not job["labels"]
    assert job["finished_at"] > was["finished_at"]
    now = ask("GET", f"/v1/jobs/{number}/layers")[1]["data"]
    assert without_seconds(now) == without_seconds(layers) and len(now) == 3
    events = ask("GET", f"/v1/jobs/{number}/events")[1]["data"]
    assert [event["type"] for event in events] == ["job.queued", "job.succeeded"], events
    assert all(event["data"]["adopted"] for event in events)
    quantctl("watch", str(number))
    assert "output error" in quantctl("show", str(number)).stdout

    folder = f"{HOME}/saved-{number}"
    quantctl("download", str(number), folder)
    assert {name: hashlib.sha256(open(f"{folder}/{name}", "rb").read()).hexdigest()
            for name in os.listdir(folder)} == files
    again = run({"kind": "eval", "model": f"job:{number}", "eval": "file:short.txt",
                 "seqlen": 64})["result"]["perplexity"]["file:short.txt"]["value"]
    assert again == measured, (again, measured)
    assert ask("POST", f"/v1/orphans/{number}/adopt")[1]["code"] == "orphan_not_found"
    print(f"ok: job {number} adopted, downloaded, measured again")


def check_read_back():
    """A job that reads another one's file finds a changed byte in it, and gives no figure."""
    eval_of_2 = {"kind": "eval", "model": "job:2", "eval": "file:short.txt", "seqlen": 64}
    file = JOBS + "/2/artifact/model.gguf"
    at = os.path.getsize(file) - 2
    flip(file, at)
    error = run(eval_of_2, "failed")["error"]
    assert error["code"] == "folder_damaged", error
    assert "'artifact/model.gguf' of job:2 does not have the hash" in error["detail"], error
    flip(file, at)
    run(eval_of_2)
    print("ok: a changed byte is found by the job that reads it")


def check_all():
    """The rest, for another owner; deletion takes the folder, and nothing brings it back."""
    done = json.loads(quantctl("--json", "admin", "adopt", "--all", "--owner", "other").stdout)
    assert [(job["id"], job["owner"]) for job in done] == [(2, "other")], done
    check_read_back()
    assert sorted(orphans()) == [3, 4]
    assert json.loads(quantctl("--json", "admin", "adopt", "--all").stdout) == []
    done = quantctl("admin", "adopt", "3", "4", status=3)
    assert "no checkpoint" in done.stderr, done
    quantctl("delete", "2")
    assert not os.path.exists(JOBS + "/2") and 2 not in orphans()
    for words in (("--all", "1"), ("--owner", "x"), ("0",)):
        quantctl("admin", "adopt", *words, status=2)
    quantctl("admin", "backup", "--all", status=2)
    print("ok: --all, --owner, deletion")


def check_older_backup(process):
    """A backup from before a job: its folder is adopted, and nothing takes its number."""
    copy = HOME + "/copy.db"
    quantctl("admin", "backup", copy)
    late = run(JOB)
    process = lose(process, copy)
    assert ask("GET", "/v1/jobs/1")[1]["status"] == "succeeded"
    assert late["id"] in orphans()
    newer = run({**JOB, "eval": []})
    assert newer["id"] > late["id"]
    quantctl("admin", "adopt", str(late["id"]))
    assert ask("GET", f"/v1/jobs/{late['id']}")[1]["artifacts"] == late["artifacts"]
    process.terminate()
    assert process.wait(timeout=60) == 0
    process = start()
    assert ask("GET", f"/v1/jobs/{late['id']}")[1]["status"] == "succeeded"
    assert sorted(orphans()) == [3, 4]
    print("ok: a backup older than a folder")
    return process


def main():
    place.write_text(SOURCE, HOME, 20000)
    process = start()
    try:
        was, dense = run(JOB), run({**JOB, "format": "gguf", "groupsize": -1})
        layers = ask("GET", "/v1/jobs/1/layers")[1]["data"]
        files = {file["name"]: file["sha256"] for file in was["artifacts"]}
        measured = run({"kind": "eval", "model": "job:1", "eval": "file:short.txt", "seqlen": 64})
        measured = measured["result"]["perplexity"]["file:short.txt"]["value"]
        os.makedirs(JOBS + "/4/work")
        put_text(JOBS + "/4/work/plan.json", "{}")
        process = lose(process)
        check_list(dense)
        check_refusals(JOBS + "/1", JOBS + "/2")
        check_adopted(was, layers, files, measured)
        check_all()
        process = check_older_backup(process)
    finally:
        process.kill()
        process.wait()


try:
    main()
finally:
    shutil.rmtree(HOME, ignore_errors=True)
