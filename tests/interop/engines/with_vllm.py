#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Checkpoints in vLLM: perplexities beside those of quantd.

vLLM reads `gptq`, `compressed-tensors` and `dense`. --mended puts right how it orders the scales of
packed experts (FORMATS.md, "vLLM"). --out and --against compare the log-probabilities of two
checkpoints, for models that were not trained. In float16, on a GPU. No suite runs it.
"""
import json
import math
import os
import subprocess
import sys

from common import parse, said_of, table, versions

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
              max_model_len=len(windows[0]) + 1, enable_prefix_caching=False,
              attention_config={"backend": "TRITON_ATTN"})
    outputs = llm.generate([{"prompt_token_ids": one} for one in windows],
                           SamplingParams(prompt_logprobs=0, max_tokens=1), use_tqdm=False)
    return [[at[token].logprob for token, at in zip(one[1:], output.prompt_logprobs[1:])]
            for one, output in zip(windows, outputs)]


def mean(rows):
    return sum(map(math.fsum, rows)) / sum(map(len, rows))


def compare(rows, others):
    """Mean and largest distance of two checkpoints' log-probabilities, and others' spread."""
    here, there = sum(rows, []), sum(others, [])
    apart = [abs(a - b) for a, b in zip(here, there)]
    middle = math.fsum(there) / len(there)
    spread = math.sqrt(math.fsum((b - middle) ** 2 for b in there) / len(there))
    return f"apart by {math.fsum(apart) / len(apart):.5f} (most {max(apart):.5f}), spread {spread:.5f}"


def measure(folder, windows):
    rows = log_probabilities(folder, windows)
    if ARGS.out:
        with open(ARGS.out, "w", encoding="utf-8") as file:
            json.dump(rows, file)
    if ARGS.against:
        with open(ARGS.against, encoding="utf-8") as file:
            print(compare(rows, json.load(file)))
    return math.exp(-mean(rows))


def options(parser):
    parser.add_argument("--mended", action="store_true", help="order the experts' scales rightly")
    parser.add_argument("--memory", type=float, default=0.1, help="share of the GPU's memory")
    parser.add_argument("--out", help="write the log-probabilities to this file")
    parser.add_argument("--against", help="compare with the log-probabilities in this file")


FORMATS = ("gptq", "compressed-tensors", "dense")
ARGS = parse(__doc__, options, vllm="vllm", tokenizers="tokenizers")
if len(ARGS.checkpoints) > 1:  # one model a process
    same = [word for word in sys.argv[1:] if word not in ARGS.checkpoints]
    sys.exit(max((subprocess.run([sys.executable, __file__, *same, folder], check=False).returncode
                  for folder in ARGS.checkpoints if said_of(folder)["params"]["format"] in FORMATS),
                 default=1))
if ARGS.mended:
    mend()
sys.exit(table(ARGS, versions("vllm", "torch", "transformers", "compressed-tensors"),
               FORMATS, measure, 0.003))
