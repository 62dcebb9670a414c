#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Evaluates and quantizes an OLMoE model with PyTorch on the cpu, as the GPTQ script does; times it.

Prints one JSON object: perplexities before and after, seconds and seconds of processors of each
phase, versions. Weights, activations and Hessians are float32. The forward pass is that of
transformers. GPTQ is plain (arXiv 2210.17323, algorithm 1): a Hessian for each nn.Linear but the
router, gathered window by window, Cholesky, blocks of 128 columns, grids of minimum and maximum.
"""
import argparse
import json
import math
import os
import random
import sys
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "../../interop"))

from own_venv import need  # noqa: E402

BLOCK = 128  # columns


def arguments():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--venv", help="folder of a virtual environment with torch and "
                        "transformers, made when it is not there; default: the packages must be")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--batch", type=int, default=1, help="windows in a forward pass")
    parser.add_argument("--calibration", metavar="FILE", help="without it nothing is quantized")
    parser.add_argument("--nsamples", type=int, default=128)
    parser.add_argument("--seqlen", type=int, default=512)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--wbits", type=int, default=4)
    parser.add_argument("--groupsize", type=int, default=128, help="-1: a whole row")
    parser.add_argument("--percdamp", type=float, default=0.01)
    parser.add_argument("--sym", action="store_true")
    parser.add_argument("--act-order", action="store_true")
    parser.add_argument("model", help="folder with config.json, weights and tokenizer.json")
    parser.add_argument("evaluation", help="text of which the perplexity is measured")
    return parser.parse_args()


ARGS = arguments()
if ARGS.venv:
    need(ARGS.venv, torch="torch", transformers="transformers")

import torch  # noqa: E402
import transformers  # noqa: E402
from tokenizers import Tokenizer  # noqa: E402
from torch import nn  # noqa: E402


class LinearExperts(nn.Module):
    """The experts of transformers 5, which are two tensors of a layer, as modules."""

    class Expert(nn.Module):
        def __init__(self, gate_up, down):
            super().__init__()
            gate, up = gate_up.chunk(2)
            for name, weight in (("gate_proj", gate), ("up_proj", up), ("down_proj", down)):
                linear = nn.Linear(weight.shape[1], weight.shape[0], bias=False, device="meta")
                linear.weight = nn.Parameter(weight.detach().clone(), requires_grad=False)
                self.add_module(name, linear)

        def forward(self, x):
            return self.down_proj(nn.functional.silu(self.gate_proj(x)) * self.up_proj(x))

    def __init__(self, fused):
        super().__init__()
        self.experts = nn.ModuleList(map(self.Expert, fused.gate_up_proj, fused.down_proj))

    def forward(self, x, chosen, weights):
        """x [T, hidden]; chosen, weights [T, k]"""
        y = torch.zeros_like(x)
        for i, expert in enumerate(self.experts):
            token, place = torch.where(chosen == i)
            y.index_add_(0, token, expert(x[token]) * weights[token, place, None])
        return y


class Grid:
    """Scale and zero [rows, 1] of the rows of w [rows, columns]."""

    def __init__(self, w):
        zero = torch.zeros(w.shape[0])
        low, high = torch.minimum(w.amin(1), zero), torch.maximum(w.amax(1), zero)
        self.most = 2 ** ARGS.wbits - 1
        if ARGS.sym:
            high = torch.maximum(low.abs(), high)
            low = torch.where(low < 0, -high, low)
        empty = (low == 0) & (high == 0)
        low[empty], high[empty] = -1, 1
        scale = (high - low) / self.most
        middle = torch.full_like(scale, (self.most + 1) / 2)
        self.scale = scale[:, None]
        self.zero = (middle if ARGS.sym else torch.round(-low / scale))[:, None]

    def quantize(self, w):
        codes = torch.clamp(torch.round(w / self.scale) + self.zero, 0, self.most)
        return self.scale * (codes - self.zero)


class Gptq:
    """One matrix: the Hessian of its inputs, then its weights on their grid."""

    def __init__(self, linear):
        self.linear = linear
        self.hessian = torch.zeros(linear.in_features, linear.in_features)
        self.n_batches = 0
        self.hook = linear.register_forward_hook(lambda _, given, __: self.add(given[0]))

    def add(self, x):
        """x [..., in_features]; a mean over calls, whose scale damping does not see"""
        x = x.reshape(-1, x.shape[-1]).t()
        self.hessian *= self.n_batches / (self.n_batches + 1)
        self.n_batches += 1
        x = math.sqrt(2 / self.n_batches) * x
        self.hessian += x.matmul(x.t())

    def factor(self, order):
        """upper U with U'U = inverse of the damped Hessian"""
        h = self.hessian[order][:, order]
        h.diagonal().add_(ARGS.percdamp * h.diagonal().mean())
        return torch.linalg.cholesky(torch.cholesky_inverse(torch.linalg.cholesky(h)), upper=True)

    def quantize(self):
        self.hook.remove()
        w, n = self.linear.weight.data.clone(), self.linear.in_features
        groupsize = ARGS.groupsize if ARGS.groupsize > 0 else n
        grid = Grid(w)
        dead = self.hessian.diagonal() == 0
        self.hessian.diagonal()[dead] = 1
        w[:, dead] = 0
        order = torch.arange(n)
        if ARGS.act_order:
            order = torch.argsort(self.hessian.diagonal(), descending=True, stable=True)
        w, u, q = w[:, order], self.factor(order), torch.empty_like(w)
        for first in range(0, n, BLOCK):
            end = min(first + BLOCK, n)
            block, errors = w[:, first:end].clone(), torch.empty(w.shape[0], end - first)
            part = u[first:end, first:end]
            for i in range(end - first):
                if ARGS.groupsize > 0 and (first + i) % groupsize == 0:
                    grid = Grid(w[:, first + i:first + i + groupsize])
                q[:, first + i:first + i + 1] = grid.quantize(block[:, i:i + 1])
                errors[:, i] = (block[:, i] - q[:, first + i]) / part[i, i]
                block[:, i:] -= errors[:, i:i + 1].matmul(part[i:i + 1, i:])
            w[:, end:] -= errors.matmul(u[first:end, end:])
        self.linear.weight.data[:, order] = q


class Inputs(Exception):
    """What the first layer is called with: args, kwargs."""


def layer_inputs(model, ids):
    """[(hidden states [windows, seqlen, hidden], kwargs)], by a first layer that ends the pass"""
    def catch(_, args, kwargs):
        raise Inputs(args, kwargs)

    found = []
    hook = model.model.layers[0].register_forward_pre_hook(catch, with_kwargs=True)
    for batch in ids.split(ARGS.batch):
        try:
            model(batch, use_cache=False)
        except Inputs as inputs:
            args, kwargs = inputs.args
            found.append((args[0] if args else kwargs.pop("hidden_states"), kwargs))
    hook.remove()
    return found


def quantize(model, ids):
    inputs = layer_inputs(model, ids)
    for layer in model.model.layers:
        def forward():
            for x, kwargs in inputs:
                y = layer(x, **kwargs)
                yield (y[0] if isinstance(y, tuple) else y), kwargs

        matrices = [Gptq(module) for name, module in layer.named_modules()
                    if isinstance(module, nn.Linear) and name != "mlp.gate"]
        for _ in forward():
            pass
        for matrix in matrices:
            matrix.quantize()
        inputs = list(forward())


def perplexity(model, ids):
    total = 0.0
    for batch in ids.split(ARGS.batch):
        logits = model(batch, use_cache=False).logits[:, :-1]
        loss = nn.functional.cross_entropy(logits.flatten(0, 1), batch[:, 1:].flatten())
        total += loss.item() * len(batch)
    return math.exp(total / len(ids))


def tokens(path):
    with open(path, encoding="utf-8") as file:
        return Tokenizer.from_file(os.path.join(ARGS.model, "tokenizer.json")).encode(
            file.read(), add_special_tokens=False).ids


def whole_windows(ids):
    n = len(ids) // ARGS.seqlen
    return torch.tensor(ids[:n * ARGS.seqlen]).view(n, ARGS.seqlen)


def drawn_windows(ids):
    random.seed(ARGS.seed)
    starts = [random.randint(0, len(ids) - ARGS.seqlen - 1) for _ in range(ARGS.nsamples)]
    return torch.tensor([ids[i:i + ARGS.seqlen] for i in starts])


def timed(result, phase, function, *args):
    begin, busy = time.perf_counter(), time.process_time()
    value = function(*args)
    result["seconds"][phase] = round(time.perf_counter() - begin, 3)
    result["processor_seconds"][phase] = round(time.process_time() - busy, 3)
    return value


def main():
    torch.set_num_threads(ARGS.threads)
    torch.set_grad_enabled(False)
    windows, result = whole_windows(tokens(ARGS.evaluation)), {"seconds": {}, "processor_seconds": {}}
    model = timed(result, "load", lambda: transformers.AutoModelForCausalLM.from_pretrained(
        ARGS.model, dtype=torch.float32).eval())
    result["perplexity"] = timed(result, "evaluate", perplexity, model, windows)
    if ARGS.calibration:
        for layer in model.model.layers:
            if hasattr(layer.mlp.experts, "gate_up_proj"):
                layer.mlp.experts = LinearExperts(layer.mlp.experts)
        timed(result, "quantize", quantize, model, drawn_windows(tokens(ARGS.calibration)))
        result["perplexity_quantized"] = timed(result, "evaluate_quantized", perplexity, model,
                                               windows)
    print(json.dumps({**result, "windows": len(windows), "threads": torch.get_num_threads(),
                      "torch": torch.__version__, "transformers": transformers.__version__,
                      "instructions": torch.backends.cpu.get_cpu_capability()}))


if __name__ == "__main__":
    main()
