#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Checkpoints in vLLM: perplexities beside those of quantd.

vLLM reads `gptq`, `compressed-tensors` and `dense`. In float16, on a GPU; a process for each
checkpoint, --at-once of them together. When there is a dense checkpoint of the same codes, a second
table says how far the log-probabilities of the two are apart, and how far those of a dense
checkpoint of other codes are: for models that were not trained, whose perplexity says little.
--mended puts right how vLLM orders the scales of packed experts (FORMATS.md, "vLLM"). Nothing is
installed where vLLM can be imported. No suite runs it.
"""
import concurrent.futures
import json
import math
import os
import subprocess
import sys
import tempfile

from common import name_of, parse, said_of, table, versions

os.environ.setdefault("VLLM_ENABLE_V1_MULTIPROCESSING", "0")  # so that --mended reaches it
os.environ.setdefault("VLLM_ALLOW_LONG_MAX_MODEL_LEN", "1")  # a window and the token after it
os.environ.setdefault("VLLM_USE_FLASHINFER_SAMPLER", "0")
os.environ.setdefault("HF_HUB_OFFLINE", "1")


def mend():
    """The scales of w13 belong to hidden_size inputs, not to intermediate_size."""
    from vllm.model_executor.layers.fused_moe.oracle import int_wna16

    wrong = int_wna16.marlin_moe_permute_scales

    def right(s, size_k, size_n, group_size, **rest):
        if group_size != -1:
            size_k = s.shape[1] * group_size
        return wrong(s=s, size_k=size_k, size_n=size_n, group_size=group_size, **rest)

    int_wna16.marlin_moe_permute_scales = right


def log_probabilities(folder, windows):
    """[[log-probability of each token but the first] for each window]"""
    from vllm import LLM, SamplingParams

    llm = LLM(folder, dtype="float16", enforce_eager=True, gpu_memory_utilization=ARGS.memory,
              kv_cache_memory_bytes=KV_BYTES,  # else it measures, which others at once disturb
              max_model_len=len(windows[0]) + 1, enable_prefix_caching=False,
              attention_config={"backend": "TRITON_ATTN"})
    outputs = llm.generate([{"prompt_token_ids": one} for one in windows],
                           SamplingParams(prompt_logprobs=0, max_tokens=1), use_tqdm=False)
    return [[at[token].logprob for token, at in zip(one[1:], output.prompt_logprobs[1:])]
            for one, output in zip(windows, outputs)]


def mean(rows):
    return sum(map(math.fsum, rows)) / sum(map(len, rows))


def measure(folder, windows):
    rows = log_probabilities(folder, windows)
    with open(ARGS.out, "w", encoding="utf-8") as file:
        json.dump(rows, file)
    return math.exp(-mean(rows))


def in_own_process(folder, out):
    """Its row of the table; the log-probabilities come into the file @out."""
    same = [word for word in sys.argv[1:] if word not in ARGS.checkpoints]
    done = subprocess.run([sys.executable, __file__, "--out", out, *same, folder],
                          stdout=subprocess.PIPE, text=True, check=False)
    rows = [line for line in done.stdout.splitlines() if line.startswith("| ")]
    row = rows[-1] if rows else f"| {name_of(said_of(folder))} | exit status {done.returncode} | | |"
    return row, done.returncode


def job_of(folder):
    return {key: value for key, value in said_of(folder)["params"].items() if key != "format"}


def apart(path, other):
    """Mean and largest distance of two checkpoints' log-probabilities."""
    here, there = (sum(json.load(open(one, encoding="utf-8")), []) for one in (path, other))
    each = [abs(a - b) for a, b in zip(here, there)]
    return f"{math.fsum(each) / len(each):.5f}, at most {max(each):.5f}"


def distances(outs):
    """@outs: {folder: file of its log-probabilities}"""
    dense = [one for one in outs if said_of(one)["params"]["format"] == "dense"]
    print("| log-probabilities of | apart from those of its dense weights | of other codes |")
    print("|---|---|---|")
    for folder, path in outs.items():
        same = [outs[one] for one in dense if one != folder and job_of(one) == job_of(folder)]
        other = [outs[one] for one in dense if job_of(one) != job_of(folder)]
        if same:
            print(f"| {name_of(said_of(folder))} | {apart(path, same[0])} | "
                  f"{apart(path, other[0]) if other else ''} |")


def all_of_them():
    """The exit status."""
    folders = [one for one in ARGS.checkpoints if said_of(one)["params"]["format"] in FORMATS]
    print(f"| {ENGINE} | engine | quantd | difference |\n|---|---|---|---|")
    with tempfile.TemporaryDirectory() as made, \
            concurrent.futures.ThreadPoolExecutor(ARGS.at_once) as pool:
        outs = {folder: f"{made}/{i}.json" for i, folder in enumerate(folders)}
        measured = differ = 0
        for row, status in pool.map(in_own_process, outs, outs.values()):
            print(row, flush=True)
            measured += row.endswith("% |")
            differ += row.endswith("% |") and status != 0
        distances({folder: path for folder, path in outs.items() if os.path.exists(path)})
    return int(differ > 0 or measured == 0)


def options(parser):
    parser.add_argument("--mended", action="store_true", help="order the experts' scales rightly")
    parser.add_argument("--memory", type=float, default=0.1, metavar="SHARE",
                        help="of the GPU's memory, for each of those at once (%(default)s)")
    parser.add_argument("--at-once", type=int, default=1, metavar="N", help="(%(default)s)")
    parser.add_argument("--out", metavar="FILE", help="for one checkpoint: its log-probabilities")


FORMATS = ("gptq", "compressed-tensors", "dense")
KV_BYTES = 1 << 30
ARGS = parse(__doc__, options, vllm="vllm", tokenizers="tokenizers")
ENGINE = versions("vllm", "torch", "transformers", "compressed-tensors")
if not ARGS.out:
    sys.exit(all_of_them())
if ARGS.mended:
    mend()
sys.exit(table(ARGS, ENGINE, FORMATS, measure, 0.003))
