#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Checkpoints of the format gptq in GPTQModel: perplexities beside those of quantd.

On the cpu, in bfloat16, as its kernels there do; so figures differ by up to 0.3 %. --exact settles
what of that is rounding: it compares the weights that GPTQModel dequantizes with those of the codes
in float64, puts these into the same model, and measures it again in float32. No suite runs it.
"""
import os
import sys

from common import parse, said_of, table, torch_perplexity, versions

os.environ["TORCHDYNAMO_DISABLE"] = "1"  # compiling costs more than it saves here


def put_exact(folder, model):
    """Each packed module becomes a Linear of the weights of its codes. Return: what to say of how far
    those of GPTQModel were from them."""
    import torch
    from gptq_reader import Matrix, read_checkpoint, read_config

    tensors, config = read_checkpoint(folder), read_config(folder)["quantization_config"]
    packed = {name: module for name, module in model.named_modules() if hasattr(module, "qweight")}
    assert len(packed) == sum(name.endswith(".qweight") for name in tensors) > 0
    farthest = same = elements = 0
    for name, module in packed.items():
        matrix, given = Matrix(tensors, name, config), module.dequantize_weight().T
        exact = torch.from_numpy(matrix.weights("f8"))
        farthest = max(farthest, ((given.double() - exact).norm() / exact.norm()).item())
        matrix.scales = torch.from_numpy(matrix.scales.copy()).bfloat16().float().numpy()
        same += (given == torch.from_numpy(matrix.weights()).bfloat16()).sum().item()
        elements += exact.numel()
        linear = torch.nn.Linear(*reversed(exact.shape), bias=False)
        linear.weight.data = exact.float()
        parent, _, leaf = name.rpartition(".")
        setattr(model.get_submodule(parent), leaf, linear)
    torch.nn.Module.float(model)
    return (f"{len(packed)} matrices, weights relative {farthest:.1e} from float64; of {elements} "
            f"{elements - same} are not scale * (code - zero) in bfloat16, the scale rounded first")


def measure(folder, windows):
    from gptqmodel import BACKEND, GPTQModel

    torch_kernel = BACKEND["GPTQ_TORCH" if "GPTQ_TORCH" in BACKEND.__members__ else "TORCH"]
    model = GPTQModel.load(folder, device="cpu", backend=torch_kernel).model
    value = torch_perplexity(model, windows)
    if ARGS.exact:
        said = put_exact(folder, model)
        wanted = next(iter(said_of(folder)["perplexity"].values()))["value"]
        exact = torch_perplexity(model, windows)
        print(f"{said}; exact, in float32: {exact:.4f} ({100 * (exact / wanted - 1):+.4f} %)")
    return value


def options(parser):
    parser.add_argument("--exact", action="store_true", help="and in float32, with exact weights")


ARGS = parse(__doc__, options, gptqmodel="GPTQModel", torch="torch")
sys.exit(table(ARGS, versions("GPTQModel", "transformers", "torch"), ("gptq",), measure, 0.003))
