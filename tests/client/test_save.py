#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Folders that quantctl saves into: whole, of one job, with nothing else that a reader would take.

Usage: test_save.py QUANTCTL
"""
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time

import fake

QUANTCTL = sys.argv[1]
RACES = 30
SHARDS = {"model-00001-of-00002.safetensors": b"first" * 50_000,
          "model-00002-of-00002.safetensors": b"second" * 50_000,
          "model.safetensors.index.json": b"{}", "config.json": b"{\"bits\": 4}"}
OTHER = {"model-00001-of-00001.safetensors": b"other" * 90_000,
         "model.safetensors.index.json": b"{ }", "config.json": b"{\"bits\": 8}"}


def start(made, *words, **options):
    return subprocess.Popen([QUANTCTL, *words], stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                            text=True, env={"PATH": os.environ["PATH"], "LC_ALL": "C.UTF-8",
                                            "QUANTD_SERVER": made.url}, **options)


def run(made, *words, status=0, **options):
    process = start(made, *words, **options)
    said = process.communicate(timeout=60)[0]
    assert process.returncode == status, (words, process.returncode, said)
    return said


def content(folder):
    found = {}
    for name in os.listdir(folder):
        with open(os.path.join(folder, name), "rb") as file:
            found[name] = file.read()
    return found


def put(folder, **files):
    os.makedirs(folder, exist_ok=True)
    for name, text in files.items():
        with open(os.path.join(folder, name.replace("__", ".")), "w", encoding="utf-8") as file:
            file.write(text)


def check_races(made, folder):
    """Two jobs, one new folder: a client that succeeds has the whole folder, and one does."""
    for number in range(RACES):
        both = [start(made, "download", job, folder) for job in ("1", "2")]
        said = [process.communicate(timeout=60)[0] for process in both]
        status = [process.returncode for process in both]
        found = content(folder)
        assert sorted(status) == [0, 5], (number, status, said)
        assert found == (SHARDS, OTHER)[status.index(0)], (number, status, sorted(found))
        refused = said[status.index(5)]
        assert "another quantctl" in refused or "another file is there" in refused, refused
        shutil.rmtree(folder)


def check_same_job(made, folder):
    """The same job twice: the second one waits for nothing, and is refused or finds all."""
    both = [start(made, "download", "1", folder) for _ in range(2)]
    status = [process.wait(60) for process in both]
    assert 0 in status and set(status) <= {0, 5} and content(folder) == SHARDS, status
    assert "(4 were there)" in run(made, "download", "1", folder)
    shutil.rmtree(folder)


def check_killed(made, folder):
    """A download that was killed goes on; parts of another job are not mixed in."""
    process = start(made, "download", "1", folder)
    time.sleep(0.02)
    process.send_signal(signal.SIGKILL)
    process.wait()
    run(made, "download", "2", folder)
    assert content(folder) == OTHER, sorted(content(folder))
    shutil.rmtree(folder)


def check_others(made, folder):
    """What a reader would take for part of the checkpoint is refused, or removed by --force."""
    for name in ("model.safetensors", "model-00003-of-00003.safetensors", "pytorch_model.bin",
                 "adapter_config.json"):
        put(folder, **{name.replace(".", "__"): "old", "notes__md": "mine"})
        said = run(made, "download", "1", folder, status=5)
        assert name in said and set(content(folder)) == {name, "notes.md"}, said
        said = run(made, "download", "1", folder, "--force")
        assert f"removed  {name}" in said, said
        assert content(folder) == {**SHARDS, "notes.md": b"mine"}
        shutil.rmtree(folder)
    run(made, "download", "1", folder)
    run(made, "download", "2", folder, status=5)
    assert content(folder) == SHARDS
    run(made, "download", "2", folder, "--force")
    assert content(folder) == OTHER
    shutil.rmtree(folder)


def check_modes(made, folder):
    for mask, of_folder, of_file in ((0o022, 0o755, 0o644), (0o027, 0o750, 0o640)):
        run(made, "download", "1", os.path.join(folder, "new"), umask=mask)
        for path, mode in [(folder, of_folder), (folder + "/new", of_folder),
                           *[(f"{folder}/new/{name}", of_file) for name in SHARDS]]:
            assert os.stat(path).st_mode & 0o777 == mode, (path, oct(os.stat(path).st_mode))
        shutil.rmtree(folder)


def check_before(made, folder):
    """What --save cannot do is said before a job is submitted."""
    put(folder, notes="mine")
    bits = ("--wbits", "4", "--nearest")
    said = run(made, "quantize", "m", "--save", folder + "/x", status=2)
    assert "16 bits" in said and "--wbits 2, 3, 4 or 8" in said, said
    assert "holds 'notes'" in run(made, "quantize", "m", *bits, "--save", folder, status=5)
    said = run(made, "quantize", "m", "--preset", "best", "--save", folder, status=5)
    assert "holds 'notes'" in said, said  # a preset has bits
    run(made, "quantize", "m", *bits, "--save", folder + "/notes/x", status=5)
    run(made, "quantize", "m", *bits, "--save", folder + "/x", "--detach", status=2)
    made.jobs[3] = fake.job(3, status="failed", kind="eval", params={"wbits": 16})
    for verb in ("watch", "retry"):
        assert "16 bits" in run(made, verb, "3", "--save", folder + "/x", status=2)
    assert not made.posted
    if os.getuid():
        os.chmod(folder, 0o555)
        assert "Permission denied" in run(made, "quantize", "m", *bits, "--save", folder, "--force",
                                          status=5)
        os.chmod(folder, 0o755)
    shutil.rmtree(folder)


def check_one_file(made, folder):
    """A file arrives in a folder beside it, of which only what quantctl made is removed."""
    made.files[4] = {"model.pt": b"weights" * 50_000}
    made.jobs[4] = fake.job(4, params={"format": "pt"})
    path = folder + "/x.pt"
    bits = ("--wbits", "4", "--nearest")
    put(path + ".part", notes="mine")
    for words in (("download", "4", path), ("quantize", "m", *bits, "--save", path)):
        for force in ((), ("--force",)):
            said = run(made, *words, *force, status=5)
            assert "x.pt.part" in said and "holds 'notes'" in said, said
            assert content(path + ".part") == {"notes": b"mine"} and not made.posted, said
    os.unlink(path + ".part/notes")
    put(path + ".part/.part", model="of another try")
    run(made, "download", "4", path)
    assert content(folder) == {"x.pt": made.files[4]["model.pt"]}
    assert "a file is there" in run(made, "download", "4", path, status=5)
    put(path + ".part", model__pt="the file of another try")
    run(made, "download", "4", path, "--force")
    assert content(folder) == {"x.pt": made.files[4]["model.pt"]}
    shutil.rmtree(folder)


def check_interrupted(made, folder):
    """Ctrl-C says how saving goes on."""
    made.jobs[1] = fake.job(1, status="running", finished_at=None)
    for words, ends in ((["quantize", "m", "--wbits", "4", "--nearest", "--save", folder + "/a b"],
                         f"{folder}/a b'"),
                        (["watch", "1", "--save", folder, "--force"], f"{folder} --force")):
        process = start(made, *words)
        time.sleep(1)
        process.send_signal(signal.SIGINT)
        said = process.communicate(timeout=20)[0]
        assert process.returncode == 130, said
        for verb in ("watch 1 --save ", "download 1 "):
            line = next(line for line in said.splitlines() if "quantctl " + verb in line)
            assert line.endswith(ends), line
    assert not os.path.exists(folder)


def main():
    made = fake.Fake()
    made.jobs = {number: fake.job(number) for number in (1, 2)}
    made.files = {1: SHARDS, 2: OTHER}
    with tempfile.TemporaryDirectory(prefix="quantctl-") as home:
        folder = os.path.join(home, "out")
        for check in (check_races, check_same_job, check_killed, check_others, check_modes,
                      check_before, check_one_file, check_interrupted):
            check(made, folder)
    made.stop()


main()
