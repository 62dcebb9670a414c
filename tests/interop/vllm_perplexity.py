#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""The perplexity of checkpoints as vLLM computes it, beside what their quantd.json says.

Usage: vllm_perplexity.py [OPTION...] TEXT CHECKPOINT...

TEXT is the file that the jobs were evaluated on, a CHECKPOINT a folder that quantctl has
downloaded. Windows and mean are quantd's: NUMERICS.md. --mended puts right how vLLM orders the
scales of packed experts (FORMATS.md, "vLLM"). --out and --against compare the
log-probabilities of two checkpoints, for models that were not trained. Needs a GPU and vllm of
the Python package index. No suite runs it.
"""
import argparse
import json
import math
import os
import subprocess
import sys

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


def windows_of(folder, text, seqlen):
    from tokenizers import Tokenizer

    tokenizer = Tokenizer.from_file(os.path.join(folder, "tokenizer.json"))
    ids = tokenizer.encode(text, add_special_tokens=False).ids
    return [ids[i:i + seqlen] for i in range(0, len(ids) - seqlen + 1, seqlen)]


def measure(folder, windows, seqlen, memory):
    """[[log-probability of each token but the first] for each window]"""
    from vllm import LLM, SamplingParams

    llm = LLM(folder, dtype="float16", enforce_eager=True, gpu_memory_utilization=memory,
              max_model_len=seqlen + 1, enable_prefix_caching=False,
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


def one(args, folder):
    with open(os.path.join(folder, "quantd.json"), encoding="utf-8") as file:
        said = json.load(file)
    with open(args.text, encoding="utf-8") as file:
        text = file.read()
    seqlen = args.seqlen or said["params"]["seqlen"]
    windows = windows_of(folder, text, seqlen)[:args.windows]
    if args.mended:
        mend()
    rows = measure(folder, windows, seqlen, args.memory)
    line = f"{os.path.basename(folder)}: vllm {math.exp(-mean(rows)):.4f}, {len(windows)} windows"
    for name, figure in (said.get("perplexity") or {}).items():
        line += f"; quantd {name} {figure['value']:.4f}, {figure['windows']} windows"
    if args.out:
        with open(args.out, "w", encoding="utf-8") as file:
            json.dump(rows, file)
    if args.against:
        with open(args.against, encoding="utf-8") as file:
            line += "; " + compare(rows, json.load(file))
    print(line, flush=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--mended", action="store_true", help="order the experts' scales rightly")
    parser.add_argument("--seqlen", type=int, help="tokens of a window; the job's")
    parser.add_argument("--windows", type=int, help="only the first so many windows")
    parser.add_argument("--memory", type=float, default=0.1, help="share of the GPU's memory")
    parser.add_argument("--out", help="write the log-probabilities to this file")
    parser.add_argument("--against", help="compare with the log-probabilities in this file")
    parser.add_argument("text")
    parser.add_argument("checkpoints", nargs="+")
    args = parser.parse_args()
    if len(args.checkpoints) == 1:
        return one(args, args.checkpoints[0])
    options = [a for a in sys.argv[1:] if a not in args.checkpoints]  # one model a process
    return max(subprocess.run([sys.executable, __file__, *options, folder]).returncode
               for folder in args.checkpoints)


sys.exit(main())
