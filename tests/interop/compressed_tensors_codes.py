#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Codes, scales and zeros of one job in two formats: gptq, and compressed-tensors by its library.

Usage: compressed_tensors_codes.py GPTQ_FOLDER COMPRESSED_TENSORS_FOLDER

Both are checkpoints of the same job (quantctl export). The second is unpacked by compressed-tensors
of the Python package index, the first by the lines below; nothing may differ by a bit. The scheme is
what the library makes of config.json. Needs torch and compressed-tensors; no suite runs it.
"""
import glob
import json
import sys

import torch
from compressed_tensors.compressors import BaseCompressor
from compressed_tensors.compressors.pack_quantized import unpack_from_int32
from compressed_tensors.quantization import QuantizationConfig
from safetensors.torch import load_file


def tensors_of(folder):
    tensors = {}
    for shard in glob.glob(folder + "/*.safetensors"):
        tensors.update(load_file(shard))
    return tensors


def config_of(folder):
    with open(folder + "/config.json", encoding="utf-8") as file:
        return json.load(file)["quantization_config"]


def bits_along(words, bits, n):
    """[rows, n] of dense packed rows of int32."""
    wide = words.to(torch.int64) & 0xffffffff
    stream = (wide[:, :, None] >> torch.arange(32)) & 1
    stream = stream.reshape(len(words), -1)[:, :n * bits].reshape(len(words), n, bits)
    return (stream << torch.arange(bits)).sum(-1)


def gptq_matrix(tensors, name, config):
    """codes [rows, n], zeros [rows, groups], scales [rows, groups]"""
    bits, qweight, qzeros = config["bits"], tensors[name + ".qweight"], tensors[name + ".qzeros"]
    scales, n = tensors[name + ".scales"].T, tensors[name + ".g_idx"].numel()
    zeros = bits_along(qzeros, bits, len(scales)).T
    if config["checkpoint_format"] == "gptq":
        zeros = (zeros + 1) % (1 << bits)
    return bits_along(qweight.T, bits, n), zeros, scales


def library_matrix(tensors, name, scheme):
    """The same by the library, whose codes have a sign; and the weights that it makes of them."""
    weights = scheme.weights
    own = {key[len(name) + 1:]: tensor for key, tensor in tensors.items()
           if key.startswith(name + ".")}
    expected = set(BaseCompressor.get_value_from_registry("pack-quantized")
                   .compression_param_names(scheme))
    assert own.keys() == expected, (name, own.keys(), expected)
    middle, scales = 1 << weights.num_bits - 1, own["weight_scale"]
    codes = unpack_from_int32(own["weight_packed"], weights.num_bits, own["weight_shape"])
    zeros = torch.zeros(scales.shape, dtype=torch.int8)
    if not weights.symmetric:
        zeros = unpack_from_int32(own["weight_zero_point"], weights.num_bits,
                                  scales.shape, packed_dim=0)
    made = BaseCompressor.get_value_from_registry("pack-quantized").decompress(own, scheme)
    return codes.to(torch.int64) + middle, zeros.to(torch.int64) + middle, scales, made["weight"]


def main():
    if len(sys.argv) != 3:
        sys.exit(__doc__)
    ours, theirs = (tensors_of(folder) for folder in sys.argv[1:])
    gptq, config = (config_of(folder) for folder in sys.argv[1:])
    (scheme,) = QuantizationConfig.model_validate(config).config_groups.values()
    names = [key[:-len(".qweight")] for key in ours if key.endswith(".qweight")]
    assert len(names) == sum(key.endswith(".weight_packed") for key in theirs) > 0
    for name in names:
        codes, zeros, scales = gptq_matrix(ours, name, gptq)
        made = library_matrix(theirs, name, scheme)
        for what, a, b in zip(("codes", "zeros", "scales"), (codes, zeros, scales), made):
            assert a.shape == b.shape and torch.equal(a, b), (name, what)
        groups = codes.shape[1] // scales.shape[1]
        exact = (codes - zeros.repeat_interleave(groups, 1)) * scales.repeat_interleave(groups, 1)
        assert torch.equal(exact, made[3]), (name, "weights")
    for name, tensor in ours.items():
        if name.endswith(".weight"):
            assert torch.equal(tensor, theirs[name]), name
    print(f"{len(names)} matrices, {scheme.weights.num_bits} bits: equal")


main()
