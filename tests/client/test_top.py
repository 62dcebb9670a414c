#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""quantctl top on a terminal: it follows what changes, in its place, and leaves nothing behind.

Usage: test_top.py QUANTCTL.
"""
import os
import signal
import subprocess
import sys

import fake
import screen

QUANTCTL = sys.argv[1]


def busy():
    made = fake.Fake()
    made.jobs = {
        3: fake.job(3, status="running", finished_at=None,
                    progress={"phase": "quantize", "fraction": 0.4, "eta_seconds": 120}),
        4: fake.job(4, status="queued", started_at=None, finished_at=None, queue_position=1,
                    owner="other", name=fake.HOSTILE)}
    made.answers["/v1/devices"] = (200, fake.listing([{**fake.DEVICE, "job": 3}]))
    return made


def top(made, width=80, height=24):
    return screen.Program([QUANTCTL, "--server", made.url, "top"], width, height)


def check_follows(width):
    made = busy()
    program = top(made, width)
    shown = program.expect("40 %", "other", "q leaves")
    made.jobs[3]["progress"]["fraction"] = 0.75
    program.expect("75 %")
    del made.jobs[4]
    program.expect("nothing waits", n_lines=len(shown.splitlines()) - 1)
    assert not program.screen.wrapped, program.screen.text()
    made.stop()
    program.expect("trying again")
    made.start()
    program.expect("75 %", "nothing waits")
    os.write(program.master, b"q")
    assert program.finish() == 0
    assert program.screen.text() == "", program.screen.text()
    made.stop()


def check_interrupt():
    made = busy()
    program = top(made)
    program.expect("40 %")
    program.process.send_signal(signal.SIGINT)
    assert program.finish() == 0
    made.stop()


def check_long():
    """A queue that is longer than the screen is cut; more than a block takes, too."""
    made = busy()
    for number in range(5, 80):
        made.jobs[number] = fake.job(number, status="queued", started_at=None, finished_at=None,
                                     queue_position=number)
    program = top(made, height=12)
    program.expect("40 %", "more lines; quantctl ps shows all; q leaves")
    shown = program.screen.text().splitlines()
    assert len(program.screen.rows) <= 12, shown
    left = len(shown[:-2])
    assert f"{78 + 2 - left} more lines" in shown[-1], shown
    os.write(program.master, b"xq")
    assert program.finish() == 0
    made.stop()


def check_pipe():
    made = busy()
    outputs = [subprocess.run([QUANTCTL, "--server", made.url, verb], capture_output=True,
                              check=True, timeout=60).stdout for verb in ("ps", "top")]
    assert outputs[0] == outputs[1] and b"40 %" in outputs[0], outputs
    made.stop()


for columns in (66, 80, 120):
    check_follows(columns)
check_interrupt()
check_long()
check_pipe()
