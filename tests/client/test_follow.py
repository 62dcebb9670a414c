#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""quantctl follows a job: on terminals of several sizes, on what is none, through a restart.

Usage: test_follow.py QUANTCTL
"""
import json
import os
import signal
import subprocess
import sys
import time

import fake
import screen

QUANTCTL = sys.argv[1]
TITLE = "job 1: quantize org/olmoe to 4 bits by gptq, minmax, groups of 128, act-order"


def running_job():
    made = fake.Fake()
    made.jobs[1] = fake.job(1, status="running", finished_at=None, name=fake.HOSTILE,
                            progress={"phase": "quantize", "fraction": 0.25})
    made.layers[1] = fake.LAYERS
    made.push("job.started", 100, device="cuda:0")
    made.push("phase.started", 100, phase="load")
    made.push("phase.started", 90, phase="quantize")
    return made


def advance(made):
    for number, report in enumerate(fake.LAYERS):
        made.push("layer.finished", **report)
        made.push("progress", phase="quantize", layer=number + 1, layers_total=3,
                  fraction=0.25 * (number + 1), eta_seconds=72.4, tokens_per_second=13149.2)


def succeed(made):
    made.push("phase.started", phase="evaluate")
    made.push("eval.finished", set="wikitext2", perplexity=7.5, stderr=0.031, baseline=7.25)
    made.jobs[1].update(status="succeeded", finished_at=fake.stamp(0),
                        result=fake.result(7.5, 7.25))
    made.push("job.succeeded")


def watch(made, width=80, height=24, *options, **environment):
    return screen.Program([QUANTCTL, "--server", made.url, *options, "watch", "1"], width, height,
                          **environment)


def check_block(width, **environment):
    made = running_job()
    program = watch(made, width, **environment)
    advance(made)
    shown = program.expect("layer 3/3", "13.1k tokens/s", "0.7500  rtn, 3 tokens",
                           "0.5000  100 tokens", "50 %", "left", "NVIDIA H200 (cuda:0)", "○ evaluate",
                           n_lines=7)  # title, phases, bar, facts, three matrices
    assert shown.startswith(TITLE), shown
    assert "✓ load 10 s" in shown and "● quantize 1 min" in shown, shown
    assert "evil ?]0;owned??[2J漢字"[:max(0, width - len(TITLE) - 4)] in shown, shown
    made.push("eval.finished", set="wikitext2", perplexity=7.5, stderr=0.031, baseline=7.25)
    program.expect("wikitext2    7.500 ± 0.031  +3.45 % of 7.250 unquantized")
    assert not program.screen.wrapped, shown
    succeed(made)
    shown = program.expect("job 1 succeeded")
    assert program.finish() == 0
    shown = program.screen.text()
    # the summary alone stays, where the block was
    assert shown.splitlines()[0] == TITLE and "tokens/s" not in shown, shown
    assert "+3.45 %" in shown and "4.25 bits per weight" in shown, shown
    made.stop()
    return program.screen


def check_resize():
    made = running_job()
    program = watch(made, 160)
    advance(made)
    program.expect("layer 3/3", "rtn, 3 tokens")
    for width, height in ((40, 24), (120, 24), (61, 24), (24, 24), (80, 24), (80, 5), (80, 24)):
        program.resize(width, height)
        if height >= 24:
            made.push("progress", phase="quantize", layer=1, layers_total=3, eta_seconds=72.4,
                      fraction=0.5, tokens_per_second=float(width))
            shown = program.expect("layer 2/3 · " + f"{width} tokens/s"[:width - 14], n_lines=7)
            # drawn over, not below: its first line is there once
            assert shown.count("job 1:") == 1, (width, shown)
        else:
            program.read(0.5)
        assert not program.screen.wrapped, (width, program.screen.text())
        if height < 24:
            program.screen.rows = [[[], False]]  # what such a terminal scrolls away is its own matter
            program.screen.y = program.screen.x = 0
    program.process.send_signal(signal.SIGTERM)
    assert program.finish() == 130
    made.stop()


def check_small():
    """A terminal of four rows shows three lines: what matters most."""
    made = running_job()
    program = watch(made, 80, 4)
    advance(made)
    shown = program.expect("50 %", "layer 3/3", n_lines=3)
    assert shown.startswith(TITLE), shown
    made.stop()
    program.process.kill()
    program.finish()


def check_quiet():
    """However much happens, there are ten frames a second at most; and none when nothing is new."""
    made = running_job()
    program = watch(made)
    program.expect("25 %")
    program.screen.frames, began = 0, time.monotonic()
    for number in range(3000):
        made.push("progress", phase="quantize", layer=1, layers_total=3, fraction=number / 5000,
                  eta_seconds=None, tokens_per_second=1e3)
    program.expect("59 %")
    most = (time.monotonic() - began) * 10 + 3
    assert 0 < program.screen.frames <= most, (program.screen.frames, most)
    # the time of the phase, above a minute, is what goes on now: a frame a second
    program.read(1)
    program.screen.frames, began = 0, time.monotonic()
    program.read(3)
    most = time.monotonic() - began + 2
    assert program.screen.frames <= most, (program.screen.frames, most)
    made.stop()
    program.process.kill()
    program.finish()


def check_interrupt():
    made = running_job()
    program = watch(made)
    advance(made)
    program.expect("layer 3/3")
    # what is typed meanwhile moves nothing
    os.write(program.master, b"typed\ntoo\n")
    made.push("progress", phase="quantize", layer=1, layers_total=3, fraction=0.75)
    shown = program.expect("75 %")
    assert "typed" not in shown and shown.count("job 1:") == 1 and not program.echoes(), shown
    os.write(program.master, b"\x03")
    program.expect("job 1 continues", "stop it")
    assert program.echoes()
    assert program.finish() == 130
    assert program.screen.text() == ("job 1 continues\n  follow it: quantctl watch 1\n"
                                     "  stop it: quantctl cancel 1"), program.screen.text()
    made.stop()


def check_restart():
    made = running_job()
    program = watch(made)
    advance(made)
    program.expect("layer 3/3")
    made.stop()
    shown = program.expect("connection lost", "the job continues on quantd", "next try in")
    assert "50 %" not in shown and "layer 3/3" in shown, shown
    made.start()
    made.push("progress", phase="quantize", layer=2, layers_total=3, fraction=0.75)
    program.expect("75 %", "connected again")
    succeed(made)
    program.expect("job 1 succeeded")
    assert program.finish() == 0
    made.stop()


def plain(made, *options):
    """Exit status, and what quantctl writes to pipes while the job goes on to its end."""
    process = subprocess.Popen([QUANTCTL, "--server", made.url, *options, "watch", "1"],
                               stdout=subprocess.PIPE, stderr=subprocess.PIPE, encoding="utf-8",
                               env={**os.environ, "LC_ALL": "C.UTF-8"})
    told, other = process.stdout, process.stderr
    if "--json" in options:
        told, other = other, told
    lines = ""
    while not lines.endswith("quantize\n"):  # it has connected
        line = told.readline()
        assert line, lines
        lines += line
    advance(made)
    succeed(made)
    lines += told.read()
    rest = other.read()
    made.stop()
    return process.wait(timeout=60), lines, rest


def check_plain():
    status, lines, rest = plain(running_job())
    assert status == 0 and rest == "", (status, rest)
    assert lines.startswith(
        TITLE + "\nload\nquantize\n"
        "layer 0: 2 matrices in 20 s, worst error 0.5 in mlp.experts.2.down_proj\n"
        "layer 1: 1 matrices in 20 s, worst error 0.75 in mlp.experts.63.gate_proj, 1 "
        "fell back to rtn\n"
        "evaluate\nperplexity of wikitext2: 7.500, +3.45 % of the unquantized\n"
        "job 1 succeeded after "), lines
    assert "\x1b" not in lines and "\r" not in lines, lines
    status, lines, rest = plain(running_job(), "--json")
    assert status == 0 and json.loads(rest)["status"] == "succeeded", rest
    assert "layer 0: 2 matrices" in lines, lines


def check_dumb():
    made = running_job()
    program = watch(made, TERM="dumb")
    program.expect("load\nquantize")
    advance(made)
    program.expect("layer 1: 1 matrices")
    succeed(made)
    program.expect("job 1 succeeded")
    assert program.finish() == 0
    assert not program.screen.colored
    made.stop()


def set_group(made, *statuses):
    """A group whose jobs have these statuses; one that runs is half done."""
    members = [fake.member(number, status, size=300_000 + number if status == "succeeded" else None,
                           loss=0.25, wbits=2 + number) for number, status in enumerate(statuses, 1)]
    for member in members:
        if member["status"] == "running":
            member["progress"] = {"phase": "quantize", "fraction": 0.5, "eta_seconds": 72.4}
    made.answers["/v1/groups/3"] = 200, fake.group(*members, name="sweep", varies=["wbits"])


def check_group():
    """A line for each job until all have ended, through a restart, and then the table."""
    made = fake.Fake()
    set_group(made, "succeeded", "running", "queued")
    command = [QUANTCTL, "--server", made.url, "watch", "group:3"]
    program = screen.Program(command, 80, 24)
    shown = program.expect("group 3: sweep  1 of 3 jobs have ended", "job 1  bits 3", "succeeded in",
                           "job 2  bits 4", "50 %", "job 3  bits 5", "queued", n_lines=4)
    small = screen.Program(command, 50, 4)
    small.expect("job 2", "job 3", n_lines=3)  # what runs, and what comes next
    small.process.kill()
    small.finish()
    made.stop()
    program.expect("connection lost")
    set_group(made, "succeeded", "failed", "running")
    made.start()
    program.expect("2 of 3 jobs have ended")
    set_group(made, "succeeded", "failed", "cancelled")
    shown = program.expect("perplexity and divergence on wikitext2")
    assert program.finish() == 1, shown
    assert "have ended" not in program.screen.text(), shown
    set_group(made, "succeeded", "running")
    program = screen.Program(command, 80, 24)
    program.expect("50 %")
    os.write(program.master, b"\x03")
    program.expect("group 3 continues", "quantctl cancel group:3")
    assert program.finish() == 130
    process = subprocess.Popen(command, stdout=subprocess.PIPE, encoding="utf-8")
    assert process.stdout.readline() == "job 1 (bits 3) succeeded in 1 min 12 s, 300 kB\n"
    assert process.stdout.readline() == "job 2 (bits 4) running\n"
    set_group(made, "succeeded", "succeeded")
    rest = process.stdout.read()
    assert rest.startswith("job 2 (bits 4) succeeded in 1 min 12 s, 300 kB\njob  bits "), rest
    assert process.wait() == 0 and "\x1b" not in rest, rest
    made.stop()


def main():
    for width in (80, 160):
        assert check_block(width).colored
    assert not check_block(100, NO_COLOR="1").colored
    check_resize()
    check_small()
    check_quiet()
    check_interrupt()
    check_restart()
    check_plain()
    check_dumb()
    check_group()


main()
