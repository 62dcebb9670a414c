#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""The perplexity of a checkpoint as others compute it, beside what its quantd.json says.

Usage: perplexity.py gptqmodel|transformers CHECKPOINT TEXT

CHECKPOINT is a folder that quantctl has downloaded, TEXT the file that its job was evaluated on.
Windows and mean are quantd's: NUMERICS.md. Needs torch and transformers, or gptqmodel, from the
Python package index; on the cpu. No suite runs it.
"""
import json
import math
import os
import sys

os.environ["TORCHDYNAMO_DISABLE"] = "1"  # compiling costs more than it saves here

import torch  # noqa: E402


def load_gptqmodel(folder):
    from gptqmodel import BACKEND, GPTQModel

    model = GPTQModel.load(folder, device="cpu", backend=BACKEND.GPTQ_TORCH)
    return model.model, model.tokenizer


def load_transformers(folder):
    from transformers import AutoModelForCausalLM, AutoTokenizer

    return (AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32),
            AutoTokenizer.from_pretrained(folder))


LOADERS = {"gptqmodel": load_gptqmodel, "transformers": load_transformers}


def perplexity(model, tokenizer, text, seqlen):
    ids = torch.tensor(tokenizer(text, add_special_tokens=False)["input_ids"])
    n_windows = len(ids) // seqlen
    total = 0.0
    with torch.no_grad():
        for window in ids[:n_windows * seqlen].view(n_windows, 1, seqlen):
            logits = model(window).logits[0, :-1].float()
            total += torch.nn.functional.cross_entropy(logits, window[0, 1:]).item()
    return math.exp(total / n_windows), n_windows


def main():
    if len(sys.argv) != 4 or sys.argv[1] not in LOADERS:
        sys.exit(__doc__)
    folder, text = sys.argv[2:4]
    with open(os.path.join(folder, "quantd.json"), encoding="utf-8") as file:
        said = json.load(file)
    with open(text, encoding="utf-8") as file:
        text = file.read()
    model, tokenizer = LOADERS[sys.argv[1]](folder)
    value, n_windows = perplexity(model, tokenizer, text, said["params"]["seqlen"])
    print(f"{sys.argv[1]}: {value:.4f} over {n_windows} windows; quantd:",
          {name: round(one["value"], 4) for name, one in said["perplexity"].items()})


main()
