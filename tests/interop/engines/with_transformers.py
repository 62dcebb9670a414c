#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Checkpoints in transformers, with compressed-tensors: perplexities beside those of quantd.

transformers reads `dense` by itself and `compressed-tensors` by the library of that name. Others are
passed by: its loader of gptq needs GPTQModel, and does not know OLMoE's experts since version 5.
On the cpu, in float32. No suite runs it.
"""
import sys

from common import parse, table, torch_perplexity, versions

ARGS = parse(__doc__, torch="torch", transformers="transformers",
             compressed_tensors="compressed-tensors", accelerate="accelerate")


def measure(folder, windows):
    import torch
    import transformers

    old = tuple(map(int, transformers.__version__.split(".")[:2])) < (4, 56)
    kind = {"torch_dtype" if old else "dtype": torch.float32}
    return torch_perplexity(transformers.AutoModelForCausalLM.from_pretrained(folder, **kind), windows)


sys.exit(table(ARGS, versions("transformers", "compressed-tensors", "torch"),
               ("dense", "compressed-tensors"), measure))
