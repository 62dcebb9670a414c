#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Checkpoints of the demo model in every format, for the scripts beside this one.

FOLDER gets text.txt, on which all were evaluated, and a folder for each checkpoint; codes/ there has
the codes that a job keeps which has no gptq export, for gguf_codes.py.

With --wide, which needs 20 GB there, they are those of two random layers of OLMoE-1B-7B's shapes
(2048 x 1024, 64 experts) instead, each with the dense weights of the same codes: for engines whose
kernels take other ways there than on the demo.

The daemon is that of BUILD, on the cpu; a few minutes. No suite runs it.
"""
import argparse
import os
import re
import shutil
import subprocess
import sys

SOURCE = os.path.dirname(os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__)))))
sys.path.insert(0, SOURCE + "/scripts")

from own_daemon import Daemon  # noqa: E402

CHARACTERS = 30000
ORDERED = {"act_order": True, "static_groups": True}
# What is quantized once, and the formats that it is exported in.
JOBS = [
    ({"wbits": 4, "groupsize": 64, "sym": True, **ORDERED},
     ["gptq", "compressed-tensors", "gguf", "dense", "pt"]),
    ({"wbits": 4, "groupsize": 32, "sym": False, **ORDERED}, ["gptq", "compressed-tensors", "gguf"]),
    ({"wbits": 4, "groupsize": 32, "sym": True, **ORDERED}, ["gptq", "compressed-tensors", "gguf"]),
    ({"wbits": 4, "groupsize": 128, "sym": True, **ORDERED}, ["gptq", "compressed-tensors"]),
    ({"wbits": 4, "groupsize": -1, "sym": False, **ORDERED}, ["gptq", "compressed-tensors", "gguf"]),
    ({"wbits": 4, "groupsize": -1, "sym": True, **ORDERED}, ["gptq", "compressed-tensors"]),
    ({"wbits": 4, "groupsize": 64, "sym": True, "act_order": True}, ["gptq"]),
    ({"wbits": 8, "groupsize": 64, "sym": True}, ["gptq", "compressed-tensors", "gguf"]),
    ({"wbits": 8, "groupsize": -1, "sym": True}, ["gptq", "compressed-tensors", "gguf"]),
    ({"wbits": 8, "groupsize": 64, "sym": False}, ["gptq", "compressed-tensors"]),
    ({"wbits": 3, "groupsize": 64, "sym": True}, ["gptq", "compressed-tensors", "gguf"]),
    ({"wbits": 3, "groupsize": 64, "sym": False}, ["gptq", "compressed-tensors", "gguf"]),
    ({"wbits": 3, "groupsize": 64, "sym": False, **ORDERED}, ["gptq", "compressed-tensors", "gguf"]),
    ({"wbits": 3, "groupsize": -1, "sym": True}, ["gptq", "gguf"]),
    ({"wbits": 2, "groupsize": 64, "sym": True}, ["gptq", "compressed-tensors", "gguf"]),
    ({"wbits": 2, "groupsize": 64, "sym": False}, ["gptq", "compressed-tensors", "gguf"]),
    ({"wbits": 2, "groupsize": 32, "sym": True}, ["gptq", "gguf"]),
    ({"wbits": 2, "groupsize": -1, "sym": False}, ["gptq", "gguf"]),
    ({"wbits": 4, "groupsize": 32, "sym": True, "gguf_embedding": "q8_0"}, ["gguf"]),
    ({"wbits": 4, "groupsize": 64, "sym": True, **ORDERED, "rules": ["self_attn:wbits=8"]},
     ["gptq", "compressed-tensors", "gguf"]),
    # down_proj is narrower than a super-block, so it gets the type that llama-quantize gives it
    ({"gguf_type": "q2_k"}, ["gguf"]),
    ({"gguf_type": "q3_k"}, ["gguf"]),
    ({"gguf_type": "q4_k"}, ["gguf"]),
    ({"gguf_type": "q2_k", "rules": ["down_proj:wbits=8"]}, ["gguf"]),
    # one matrix in Q8_0, all others in BF16: with_llama_cpp.py has llama-quantize quantize them
    ({"wbits": 8, "groupsize": 32, "sym": True,
      "rules": ["layers=1-2:wbits=16", "k_proj,v_proj,o_proj,gate_proj,up_proj,down_proj:wbits=16"]},
     ["gguf"]),
]
WIDE = [
    ({"wbits": 4, "groupsize": 128, "sym": True}, ["gptq", "compressed-tensors", "dense"]),
    ({"wbits": 8, "groupsize": 128, "sym": True}, ["gptq", "dense"]),
    ({"wbits": 4, "groupsize": -1, "sym": True}, ["compressed-tensors", "dense"]),
]
WIDE_SHAPES = ["--hidden", "2048", "--intermediate", "1024", "--experts", "64",
               "--experts-per-token", "8", "--layers", "2", "--heads", "16"]


def text_of(folder):
    with open(SOURCE + "/data/texts/demo-evaluation.txt", encoding="utf-8") as file:
        text = file.read(CHARACTERS)
    with open(folder + "/text.txt", "w", encoding="utf-8") as file:
        file.write(text)


def name_of(params, form):
    """Every parameter that is not as usual, in characters that any file system takes."""
    grid = [params["gguf_type"]] if "gguf_type" in params else [
        str(params["wbits"]), str(params["groupsize"]).replace("-1", "rows"),
        "sym" if params["sym"] else "asym"]
    words = [key for key in ("act_order", "static_groups") if params.get(key)]
    words += ["q8_0"] if params.get("gguf_embedding") else []
    words += [re.sub(r"\W+", "_", rule) for rule in params.get("rules", [])]
    return "-".join([form.replace("-", "_"), *grid, *words])


def make(daemon, folder, params, forms):
    job = daemon.submit(nsamples=16, seqlen=512, eval=["file:text.txt"], difference=False,
                        format=forms[0], **params)
    for form in forms:
        made = daemon.wait(job if form == forms[0] else
                           daemon.submit(kind="export", model=f"job:{job}", format=form))
        if made["status"] != "succeeded":
            sys.exit(f"{params} as {form}: {made['error']}")
        name, home = name_of(params, form), f"{daemon.home}/state/jobs/{made['id']}"
        shutil.copytree(home + "/artifact", f"{folder}/{name}")
        if forms[0] == "gguf":
            shutil.copytree(home + "/codes", f"{folder}/codes/{name}")
        print(name, flush=True)
        if form != forms[0]:
            daemon.delete(made["id"])
    daemon.delete(job)


def make_wide(build, folder):
    """The name of a model in @folder."""
    program = next(path for path in (build + "/tools/quantd-make-checkpoint",
                                     build + "/bin/quantd-make-checkpoint") if os.path.exists(path))
    subprocess.run([program, *WIDE_SHAPES, "--tokenizer", SOURCE + "/data/olmoe-demo/tokenizer.json",
                    folder + "/wide"], check=True)
    return "wide"


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0],
                                     epilog=__doc__.partition("\n\n")[2],
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--wide", action="store_true", help="of a model that is as wide as OLMoE-1B-7B")
    parser.add_argument("build", help="a folder that is built, or one of scripts/bundle")
    parser.add_argument("folder", help="a new folder")
    args = parser.parse_args()
    os.makedirs(args.folder)
    text_of(args.folder)
    usual = {"model": make_wide(args.build, args.folder), "method": "rtn"} if args.wide else {
        "dataset": "file:demo-calibration.txt"}
    with Daemon(args.build, "--device", "cpu", "--data-root", args.folder, "--model-root",
                args.folder, "--disk-floor", "0") as daemon:
        for params, forms in WIDE if args.wide else JOBS:
            make(daemon, args.folder, {**usual, **params}, forms)


main()
