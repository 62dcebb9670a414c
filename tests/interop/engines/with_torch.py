#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""The file of the format pt in torch: loaded both ways, and measured in the model of transformers.

torch.load(weights_only=True), with mmap and without, must give the same tensors, and the names of
the model. On the cpu, in float32. No suite runs it.
"""
import shutil
import sys
import tempfile

from common import parse, table, torch_perplexity, versions

ARGS = parse(__doc__, torch="torch", transformers="transformers",
             safetensors="safetensors")


def measure(folder, windows):
    import torch
    from safetensors.torch import save_file
    from transformers import AutoModelForCausalLM

    path = folder + "/model.pt"
    mapped, read = (torch.load(path, weights_only=True, mmap=mmap) for mmap in (True, False))
    if mapped.keys() != read.keys() or not all(torch.equal(mapped[k], read[k]) for k in read):
        raise ValueError("mmap gives other tensors")
    with tempfile.TemporaryDirectory() as made:  # from_pretrained() knows how experts are fused
        shutil.copy(folder + "/config.json", made)
        save_file(read, made + "/model.safetensors", metadata={"format": "pt"})
        model = AutoModelForCausalLM.from_pretrained(made, dtype=torch.float32)
    return torch_perplexity(model, windows)


sys.exit(table(ARGS, versions("torch", "transformers"), ("pt",), measure))
