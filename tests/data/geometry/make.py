#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Makes the small models of this folder and what they compute.

Needs torch, transformers and safetensors. The weights are random, rounded to the type in
which they are stored; the figures are those of transformers' OlmoeForCausalLM in float64, so they
are independent of quantd (norms and softmax are float32 there). Usage: make.py [NAME ...]
"""
import json
import os
import sys

import torch
from safetensors.torch import save_file
from transformers import OlmoeConfig, OlmoeForCausalLM

HERE = os.path.dirname(os.path.abspath(__file__))
TOKENS = 24

BASE = {
    "model_type": "olmoe", "hidden_size": 64, "intermediate_size": 32, "num_hidden_layers": 2,
    "num_attention_heads": 4, "num_key_value_heads": 4, "num_experts": 4,
    "num_experts_per_tok": 2, "vocab_size": 96, "max_position_embeddings": 64,
    "rms_norm_eps": 1e-5, "rope_theta": 10000.0, "norm_topk_prob": False,
    "tie_word_embeddings": False, "clip_qkv": None, "hidden_act": "silu",
}

# What each differs by from BASE; "drop" are keys that its config.json does without.
MODELS = {
    # transformers counts the width of k_norm by hidden_size / heads * kv heads; so do we
    "kv-heads": {"num_key_value_heads": 2},
    "clip": {"clip_qkv": 0.7},
    "norm-topk": {"norm_topk_prob": True, "dtype": "float16"},
    "tied": {"tie_word_embeddings": True, "dtype": "float32", "num_hidden_layers": 1},
    # head_dim 96, 5 experts of which 3 are taken, theta and eps not the defaults
    "odd": {"hidden_size": 96, "num_attention_heads": 1, "num_key_value_heads": 1,
            "num_experts": 5, "num_experts_per_tok": 3, "rope_theta": 500.0,
            "rms_norm_eps": 1e-3, "num_hidden_layers": 1},
    # the keys that may be absent: their defaults must be transformers'
    "defaults": {"num_hidden_layers": 1,
                 "drop": ["num_key_value_heads", "rms_norm_eps", "rope_theta", "norm_topk_prob",
                          "tie_word_embeddings", "clip_qkv", "hidden_act"]},
    # all at once, and one token per expert
    "mixed": {"num_attention_heads": 8, "clip_qkv": 1.0,
              "norm_topk_prob": True, "tie_word_embeddings": True, "num_experts": 6,
              "num_experts_per_tok": 1, "hidden_size": 128, "num_hidden_layers": 1,
              "num_key_value_heads": 4},
}


def config_of(changes):
    config = {**BASE, **{k: v for k, v in changes.items() if k not in ("drop", "dtype")}}
    for key in changes.get("drop", []):
        del config[key]
    return config


def random_weights(model, dtype, generator):
    """Large enough that router, norms and clipping all matter."""
    for name, weight in model.named_parameters():
        values = torch.randn(weight.shape, generator=generator, dtype=torch.float64)
        if "norm" in name:
            values = 1 + 0.2 * values
        elif "embed" not in name:
            values = values * 1.5 / weight.shape[-1] ** 0.5
        weight.data = values.to(dtype).to(torch.float64)


def per_expert(state):
    """Newer transformers stack the experts of a layer; the files do not."""
    flat = {}
    for name, tensor in state.items():
        if name.endswith("experts.gate_up_proj"):
            half = tensor.shape[1] // 2
            for e, t in enumerate(tensor):
                flat[f"{name[:-12]}{e}.gate_proj.weight"] = t[:half]
                flat[f"{name[:-12]}{e}.up_proj.weight"] = t[half:]
        elif name.endswith("experts.down_proj"):
            for e, t in enumerate(tensor):
                flat[f"{name[:-9]}{e}.down_proj.weight"] = t
        else:
            flat[name] = tensor
    return flat


def figures(model, ids):
    with torch.no_grad():
        out = model(torch.tensor([ids]), output_hidden_states=True)
    logits = out.logits[0].double()
    lse = torch.logsumexp(logits, -1)
    nll = [(lse[i] - logits[i, ids[i + 1]]).item() for i in range(len(ids) - 1)]
    rounded = lambda values: [round(v, 6) for v in values]
    return {
        "ids": ids, "nll": rounded(nll), "mean_nll": sum(nll) / len(nll),
        "argmax": logits.argmax(-1).tolist(), "logsumexp": rounded(lse.tolist()),
        "logits_first8": [rounded(row) for row in logits[:, :8].tolist()],
        "hidden_l2": [rounded(h[0].double().norm(dim=-1).tolist()) for h in out.hidden_states],
    }


def make(name):
    changes = MODELS[name]
    folder = os.path.join(HERE, name)
    dtype = getattr(torch, changes.get("dtype", "bfloat16"))
    config = config_of(changes)
    generator = torch.Generator().manual_seed(sum(name.encode()))
    ids = torch.randint(0, config["vocab_size"], (TOKENS,), generator=generator).tolist()

    torch.manual_seed(0)
    model = OlmoeForCausalLM(OlmoeConfig(**{"pad_token_id": 1, **config},
                                         attn_implementation="eager",
                                         experts_implementation="eager")).double().eval()
    random_weights(model, dtype, generator)
    model.tie_weights()
    state = per_expert(model.state_dict())
    if config.get("tie_word_embeddings"):
        state.pop("lm_head.weight", None)
    os.makedirs(folder, exist_ok=True)
    save_file({k: v.to(dtype).contiguous().clone() for k, v in state.items()},
              os.path.join(folder, "model.safetensors"), metadata={"format": "pt"})
    os.chmod(os.path.join(folder, "model.safetensors"), 0o644)
    for file, value in (("config.json", config), ("expected.json", figures(model, ids))):
        with open(os.path.join(folder, file), "w", encoding="utf-8") as f:
            json.dump(value, f, indent=1 if file == "config.json" else None, sort_keys=True)
            f.write("\n")


if __name__ == "__main__":
    for wanted in sys.argv[1:] or MODELS:
        make(wanted)
