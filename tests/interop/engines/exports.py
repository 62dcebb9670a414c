#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Checkpoints of the demo model in every format, for the scripts beside this one.

Usage: exports.py BUILD FOLDER

FOLDER gets text.txt, on which all were evaluated, and a folder for each checkpoint. The daemon is
that of the build folder BUILD, on the cpu; a few minutes. No suite runs it.
"""
import os
import re
import shutil
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
    ({"wbits": 4, "groupsize": -1, "sym": False, **ORDERED}, ["compressed-tensors", "gguf"]),
    ({"wbits": 4, "groupsize": -1, "sym": True, **ORDERED}, ["gptq", "compressed-tensors"]),
    ({"wbits": 4, "groupsize": 64, "sym": True, "act_order": True}, ["gptq"]),
    ({"wbits": 8, "groupsize": 64, "sym": True}, ["gptq", "compressed-tensors", "gguf"]),
    ({"wbits": 8, "groupsize": -1, "sym": True}, ["compressed-tensors"]),
    ({"wbits": 8, "groupsize": 64, "sym": False}, ["gptq", "compressed-tensors"]),
    ({"wbits": 3, "groupsize": 64, "sym": True}, ["gptq", "compressed-tensors", "gguf"]),
    ({"wbits": 3, "groupsize": 64, "sym": False}, ["gptq", "compressed-tensors", "gguf"]),
    ({"wbits": 3, "groupsize": -1, "sym": True}, ["gguf"]),
    ({"wbits": 2, "groupsize": 64, "sym": True}, ["gptq", "compressed-tensors", "gguf"]),
    ({"wbits": 2, "groupsize": 64, "sym": False}, ["gptq", "compressed-tensors", "gguf"]),
    ({"wbits": 2, "groupsize": -1, "sym": False}, ["gguf"]),
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
    job = daemon.submit(dataset="file:demo-calibration.txt", nsamples=16, seqlen=512,
                        eval=["file:text.txt"], difference=False, format=forms[0], **params)
    for form in forms:
        made = daemon.wait(job if form == forms[0] else
                           daemon.submit(kind="export", model=f"job:{job}", format=form))
        if made["status"] != "succeeded":
            sys.exit(f"{params} as {form}: {made['error']}")
        name = name_of(params, form)
        shutil.copytree(f"{daemon.home}/state/jobs/{made['id']}/artifact", f"{folder}/{name}")
        print(name, flush=True)


def main():
    if len(sys.argv) != 3:
        sys.exit(__doc__)
    build, folder = sys.argv[1:]
    os.makedirs(folder)
    text_of(folder)
    with Daemon(build, "--device", "cpu", "--data-root", folder, "--disk-floor", "0") as daemon:
        for params, forms in JOBS:
            make(daemon, folder, params, forms)


main()
