#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Checkpoints of the format gptq in GPTQModel: perplexities beside those of quantd.

On the cpu, in bfloat16, as its kernels there do; so figures differ by up to 0.3 %. No suite runs it.
"""
import os
import sys

from common import parse, table, torch_perplexity, versions

os.environ["TORCHDYNAMO_DISABLE"] = "1"  # compiling costs more than it saves here
ARGS = parse(__doc__, gptqmodel="GPTQModel", torch="torch")


def measure(folder, windows):
    from gptqmodel import BACKEND, GPTQModel

    return torch_perplexity(GPTQModel.load(folder, device="cpu", backend=BACKEND.GPTQ_TORCH).model,
                            windows)


sys.exit(table(ARGS, versions("GPTQModel", "transformers", "torch"), ("gptq",), measure, 0.003))
