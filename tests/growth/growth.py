#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""How the costs of quantd grow, each in tables and plots: docs/PERFORMANCE.md has them.

windows, layers, experts: a whole job on the cpu (whole_jobs.py); queue: jobs that wait; history:
events of jobs that have ended (history.py). What is measured is processor time, which the load of
the machine hardly moves, and memory. Growth is the exponent between the last two sizes: 0 flat, 1
linear.
"""
import argparse
import functools
import math
import os
import sys

sys.dont_write_bytecode = True

import history  # noqa: E402
import plot  # noqa: E402
import whole_jobs  # noqa: E402

FLAT, LINEAR = 0.25, 1.25  # exponents up to which growth is called so


def whole_job(name, build, n):
    sizes = {"windows": 32, "layers": 2, "experts": 64, name: n}
    return whole_jobs.measure(build, **sizes)


# name: what xs count, sizes, measure(build, n)
KINDS = {
    "windows": ("calibration windows of 64 tokens", (32, 64, 128, 256, 512),
                functools.partial(whole_job, "windows")),
    "layers": ("layers", (2, 4, 8, 16), functools.partial(whole_job, "layers")),
    "experts": ("experts of a layer", (64, 128, 256), functools.partial(whole_job, "experts")),
    "queue": ("jobs that wait", (10, 100, 1000, 10000, 30000), history.measure_queue),
    "history": ("events of jobs that have ended", (1000, 10000, 100000, 1000000),
                history.measure_history),
}


def arguments():
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("--plots", metavar="DIR", help="write growth-KIND.svg here")
    parser.add_argument("--largest", type=int, metavar="N", help="leave out larger sizes")
    parser.add_argument("build", help="folder that is built")
    parser.add_argument("kind", nargs="*", help="of " + ", ".join(KINDS) + "; default: all")
    args = parser.parse_args()
    if set(args.kind) - set(KINDS):
        parser.error("unknown kind: " + " ".join(set(args.kind) - set(KINDS)))
    return args


def processor():
    with open("/proc/cpuinfo", encoding="utf-8") as file:
        names = [line.split(":")[1].strip() for line in file if line.startswith("model name")]
    return f"{names[0] if names else 'unknown processor'}, {os.cpu_count()} processors"


def verdict(sizes, values):
    """Between the last two sizes."""
    if len(values) < 2 or min(values[-2:]) <= 0:
        return ""
    exponent = math.log(values[-1] / values[-2]) / math.log(sizes[-1] / sizes[-2])
    name = "flat" if exponent <= FLAT else "linear or less" if exponent <= LINEAR else "worse"
    return f"{name} ({exponent:.1f})"


def table(sizes, series):
    yield "| | " + " | ".join(f"{size:,}" for size in sizes) + " | growth |"
    yield "|---|" + "---:|" * len(sizes) + "---|"
    for name, values in series.items():
        cells = [f"{value:.2f}" if value < 10 else f"{value:.0f}" for value in values]
        yield f"| {name} | " + " | ".join(cells) + f" | {verdict(sizes, values)} |"


def measure(args, kind):
    what, sizes, measure_one = KINDS[kind]
    sizes = [size for size in sizes if not args.largest or size <= args.largest]
    if not sizes:
        return
    rows = [measure_one(os.path.abspath(args.build), size) for size in sizes]
    series = {name: [row[name] for row in rows] for name in rows[0]}
    print(f"\n{what}\n", *table(sizes, series), sep="\n", flush=True)
    if args.plots:
        timed = {name: values for name, values in series.items() if "MiB" not in name}
        with open(f"{args.plots}/growth-{kind}.svg", "w", encoding="utf-8") as file:
            file.write(plot.svg("Processor time", what, sizes, timed))


def main():
    args = arguments()
    print(processor())
    for kind in args.kind or KINDS:
        measure(args, kind)


if __name__ == "__main__":
    main()
