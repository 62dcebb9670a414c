#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Codes, scales and zeros of one job in two formats: gptq, and compressed-tensors by its library.

Usage: compressed_tensors_codes.py GPTQ COMPRESSED_TENSORS [GPTQ COMPRESSED_TENSORS ...]

Both folders are checkpoints of the same job (quantctl export). The second is unpacked by
compressed-tensors of the Python package index, the first by gptq_reader.py; nothing may differ by a
bit. The schemes are what the library makes of config.json, and a matrix has the one that it finds.
Needs torch and compressed-tensors; no suite runs it.
"""
import glob
import importlib.metadata
import os
import re
import sys

import torch
from compressed_tensors.compressors import BaseCompressor
from compressed_tensors.compressors.pack_quantized import unpack_from_int32
from compressed_tensors.quantization import QuantizationConfig
from gptq_reader import Matrix, pairs_of, read_checkpoint, read_config
from safetensors.torch import load_file


def tensors_of(folder):
    tensors = {}
    for shard in glob.glob(folder + "/*.safetensors"):
        tensors.update(load_file(shard))
    return tensors


def scheme_of(schemes, name):
    """The first whose targets are the name's, else that of the class."""
    for scheme in schemes:
        for target in scheme.targets:
            if target.startswith("re:") and re.match(target[3:], name):
                return scheme
    return next(scheme for scheme in schemes if "Linear" in scheme.targets)


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


def compare(gptq, folder):
    ours, theirs = read_checkpoint(gptq), tensors_of(folder)
    config = read_config(gptq)["quantization_config"]
    schemes = QuantizationConfig.model_validate(
        read_config(folder)["quantization_config"]).config_groups.values()
    names = [key[:-len(".qweight")] for key in ours if key.endswith(".qweight")]
    assert len(names) == sum(key.endswith(".weight_packed") for key in theirs) > 0
    bits = set()
    for name in names:
        matrix, scheme = Matrix(ours, name, config), scheme_of(schemes, name)
        made = library_matrix(theirs, name, scheme)
        for what, a, b in zip(("codes", "zeros", "scales"),
                              (matrix.codes, matrix.zeros, matrix.scales), made):
            assert a.shape == tuple(b.shape) and (a == b.numpy()).all(), (name, what)
        exact = torch.from_numpy(matrix.weights()).to(made[3].dtype)
        assert torch.equal(exact, made[3]), (name, "weights")
        bits.add(scheme.weights.num_bits)
    for name, tensor in theirs.items():
        if name.endswith(".weight"):
            assert (ours[name] == tensor.float().numpy()).all(), name
    print(f"{os.path.basename(folder.rstrip('/'))}: {len(names)} matrices, "
          f"{', '.join(map(str, sorted(bits)))} bits: equal", flush=True)


def main():
    pairs = pairs_of(sys.argv[1:], __doc__)
    print(f"compressed-tensors {importlib.metadata.version('compressed-tensors')}")
    for pair in pairs:
        compare(*pair)


main()
