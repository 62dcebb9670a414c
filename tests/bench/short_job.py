#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Where the time of a short job goes for a user: `quantctl quantize` from its start to its end.

Jobs of the demo model, rounded to nearest, without an evaluation, one after the other. The clock of
the machine is compared with the times that the job says, to a millisecond.
"""
import argparse
import datetime
import os
import statistics
import subprocess
import sys
import time

sys.dont_write_bytecode = True
sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "../../scripts"))

from own_daemon import Daemon  # noqa: E402


def arguments():
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--jobs", type=int, default=20)
    parser.add_argument("build", help="folder that is built")
    return parser.parse_args()


def at(text):
    return datetime.datetime.fromisoformat(text.replace("Z", "+00:00")).timestamp()


def run(daemon):
    """The seconds of one job: step = seconds, in the order in which they pass."""
    begin = time.time()
    subprocess.run([daemon.build + "/client/quantctl", "--server", "unix:" + daemon.socket,
                    "quantize", "olmoe-demo", "--wbits", "4", "--method", "rtn", "--eval", "none"],
                   check=True, stdout=subprocess.DEVNULL)
    end = time.time()
    job = daemon.get("/v1/jobs?limit=1")["data"][0]
    seconds = dict(job["result"]["seconds"])
    total = seconds.pop("total")
    created, started, finished = (at(job[name])
                                  for name in ("created_at", "started_at", "finished_at"))
    return {"quantctl starts, asks for an estimate, submits": created - begin,
            "queued: stored, a worker wakes and claims": started - created,
            **{"phase " + name: value for name, value in seconds.items() if value},
            "around the phases: folder, device, recording": finished - started - total,
            "the end reaches quantctl, which prints it and ends": end - finished,
            "all": end - begin}


def main():
    args = arguments()
    with Daemon(args.build, "--device", args.device) as daemon:
        first = run(daemon)
        rows = [run(daemon) for _ in range(args.jobs)]
    print(f"| ms, {args.jobs} jobs on {args.device} | first | median | least |\n"
          "|---|---:|---:|---:|")
    for step in rows[0]:
        values = [row[step] * 1000 for row in rows]
        print(f"| {step} | {first[step] * 1000:.0f} | {statistics.median(values):.0f} | "
              f"{min(values):.0f} |")


if __name__ == "__main__":
    main()
