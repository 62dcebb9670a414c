#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Are the weights of a dense or pt export those of the codes that the job computed?

Usage: dense_codes.py CODES FOLDER [CODES FOLDER ...]

Both are folders of one job: CODES is its gptq export, read by gptq_reader.py; the second its dense
export, read by safetensors, or its pt export, read by torch.load(weights_only=True). Each weight is
scale * (code - zero), rounded once to bfloat16. Needs torch and safetensors; no suite runs it.
"""
import glob
import os
import sys

import torch
from gptq_reader import Matrix, is_packed, pairs_of, read_checkpoint, read_config
from safetensors.torch import load_file


def tensors_of(folder):
    if os.path.exists(folder + "/model.pt"):
        return torch.load(folder + "/model.pt", weights_only=True)
    tensors = {}
    for path in glob.glob(folder + "/*.safetensors"):
        tensors.update(load_file(path))
    return tensors


def compare(codes, folder):
    """How many tensors differ."""
    ours, config = read_checkpoint(codes), read_config(codes)["quantization_config"]
    packed = differ = 0
    for name, given in tensors_of(folder).items():
        matrix = name.removesuffix(".weight")
        packed += is_packed(ours, matrix)
        wanted = Matrix(ours, matrix, config).weights() if is_packed(ours, matrix) else ours[name]
        differ += not torch.equal(torch.from_numpy(wanted).to(given.dtype), given)
    assert packed == sum(name.endswith(".g_idx") for name in ours) > 0
    print(f"{os.path.basename(folder.rstrip('/'))}: {packed} matrices of codes, {differ} tensors differ",
          flush=True)
    return differ


def main():
    pairs = pairs_of(sys.argv[1:], __doc__)
    print(f"torch {torch.__version__}")
    sys.exit(any([compare(*pair) for pair in pairs]))


main()
