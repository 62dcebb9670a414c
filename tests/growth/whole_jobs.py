# SPDX-License-Identifier: Apache-2.0
"""Growth of a whole job: with its windows, and with the layers and the experts of its model.

Each is a run of tests/bench/bench_pipeline on a random model of small matrices, on the cpu. What
counts is the processor time of its process, user and system, and its largest resident memory.
"""
import os
import shutil
import subprocess
import tempfile

SHAPE = {"hidden": 256, "intermediate": 128, "experts-per-token": 8, "vocab": 1024}
SEQLEN = 64


def make_model(build, folder, layers, experts):
    options = [f"--{name}={value}" for name, value in SHAPE.items()]
    subprocess.run([build + "/tools/quantd-make-checkpoint", *options, f"--layers={layers}",
                    f"--experts={experts}", folder], check=True, stdout=subprocess.DEVNULL)


def run(build, folder, windows):
    """Processor seconds and MiB of a job of @windows windows."""
    process = subprocess.Popen(
        [build + "/tests/bench/bench_pipeline", "--device", "cpu", "--nsamples", str(windows),
         "--seqlen", str(SEQLEN), "--windows", str(windows), "--gemm", "1", folder],
        stdout=subprocess.DEVNULL)
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise RuntimeError(f"bench_pipeline failed: {process.returncode}")
    return usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 1024


def measure(build, windows, layers, experts):
    home = tempfile.mkdtemp(prefix="quantd-growth-")
    try:
        make_model(build, home + "/model", layers, experts)
        seconds, memory = run(build, home + "/model", windows)
    finally:
        shutil.rmtree(home, ignore_errors=True)
    return {"quantize and evaluate, s": seconds, "memory, MiB": memory}
