#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Is every weight of a GGUF export scale * (code - zero) of the codes that the job computed?

Usage: gguf_codes.py GPTQ_CHECKPOINT GGUF_CHECKPOINT

Both are folders of one job, by `quantctl export JOB --format gptq --save DIR` and
`--format gguf`. The file is read and dequantized by the package gguf of the Python package index,
which knows nothing of quantd, and compared in f32, where equal is equal. Needs gguf and numpy. Q2_0
is newer than gguf 0.19 and is decoded here; with the gguf-py of a newer llama.cpp the package does
it. No suite runs it.
"""
import glob
import json
import os
import struct
import sys

import gguf
import numpy as np

PARTS = {"attn_q": "self_attn.q_proj", "attn_k": "self_attn.k_proj", "attn_v": "self_attn.v_proj",
         "attn_output": "self_attn.o_proj", "ffn_gate_exps": "mlp.experts.{}.gate_proj",
         "ffn_up_exps": "mlp.experts.{}.up_proj", "ffn_down_exps": "mlp.experts.{}.down_proj"}
PLAIN = {"attn_norm": "input_layernorm", "attn_q_norm": "self_attn.q_norm",
         "attn_k_norm": "self_attn.k_norm", "ffn_norm": "post_attention_layernorm",
         "ffn_gate_inp": "mlp.gate"}
OUTER = {"token_embd.weight": "model.embed_tokens.weight", "output_norm.weight": "model.norm.weight",
         "output.weight": "lm_head.weight"}
DTYPES = {"I32": "<i4", "F16": "<f2", "BF16": "<u2", "F32": "<f4"}
Q2_0 = 42

Q2_0_MISSING = Q2_0 not in [kind.value for kind in gguf.GGMLQuantizationType]


def read_checkpoint(folder):
    tensors = {}
    for path in sorted(glob.glob(folder + "/*.safetensors")):
        with open(path, "rb") as file:
            (size,) = struct.unpack("<Q", file.read(8))
            header = json.loads(file.read(size))
            data = file.read()
        header.pop("__metadata__", None)
        for name, entry in header.items():
            begin, end = entry["data_offsets"]
            array = np.frombuffer(data[begin:end], DTYPES[entry["dtype"]]).reshape(entry["shape"])
            if entry["dtype"] == "BF16":
                array = (array.astype(np.uint32) << 16).view(np.float32)
            tensors[name] = array
    return tensors


def unpack(words, bits, axis):
    """Integers of @bits bits along @axis of @words, lowest bits first."""
    words = np.moveaxis(words.view(np.uint32), axis, -1)
    stream = np.unpackbits(np.ascontiguousarray(words).view(np.uint8), axis=-1, bitorder="little")
    stream = stream.reshape(*words.shape[:-1], -1, bits)
    values = (stream.astype(np.int32) << np.arange(bits)).sum(-1)
    return np.moveaxis(values, -1, axis)


def decode_gptq(tensors, name, config):
    bits = config["bits"]
    codes = unpack(tensors[name + ".qweight"], bits, 0)
    zeros = unpack(tensors[name + ".qzeros"], bits, 1)
    if config["checkpoint_format"] == "gptq":
        zeros = (zeros + 1) & ((1 << bits) - 1)
    groups = tensors[name + ".g_idx"]
    scales = tensors[name + ".scales"].astype(np.float32)
    return (scales[groups] * (codes - zeros[groups]).astype(np.float32)).T


def decode_q2_0(data, shape):
    blocks = np.frombuffer(data, np.uint8).reshape(-1, 18)
    d = blocks[:, :2].copy().view("<f2").astype(np.float32)
    q = (blocks[:, 2:, None] >> np.array([0, 2, 4, 6])) & 3
    return (d * (q.reshape(-1, 64).astype(np.float32) - 1)).reshape(shape)


def weights(tensor):
    shape = [int(n) for n in reversed(tensor.shape)]
    if tensor.tensor_type == Q2_0 and Q2_0_MISSING:
        return decode_q2_0(tensor.data.tobytes(), shape)
    return gguf.dequantize(tensor.data, tensor.tensor_type).reshape(shape)


def expected(tensors, config, name):
    if name in OUTER:
        return tensors.get(OUTER[name], tensors["model.embed_tokens.weight"])
    _, layer, part, _ = name.split(".")
    prefix = f"model.layers.{layer}."
    if part in PLAIN:
        return tensors[prefix + PLAIN[part] + ".weight"]
    matrix = prefix + PARTS[part]
    if "{}" not in matrix:
        return decode_gptq(tensors, matrix, config)
    found, expert = [], 0
    while matrix.format(expert) + ".qweight" in tensors:
        found.append(decode_gptq(tensors, matrix.format(expert), config))
        expert += 1
    return np.stack(found)


def type_name(tensor):
    return getattr(tensor.tensor_type, "name", "Q2_0")


def open_reader(path):
    """gguf.GGUFReader; where its package does not know Q2_0, with that type added."""
    if Q2_0_MISSING:
        real = gguf.gguf_reader.GGMLQuantizationType

        def kind(number):
            return Q2_0 if number == Q2_0 else real(number)

        for member in real:
            setattr(kind, member.name, member)
        gguf.gguf_reader.GGMLQuantizationType = kind
        sizes = gguf.gguf_reader.GGML_QUANT_SIZES
        sizes.setdefault(Q2_0, (64, 18))
        real_shape = gguf.gguf_reader.quant_shape_to_byte_shape

        def byte_shape(shape, quant_type):
            if quant_type == Q2_0:
                return (*shape[:-1], int(shape[-1]) // 64 * 18)
            return real_shape(shape, quant_type)

        gguf.gguf_reader.quant_shape_to_byte_shape = byte_shape
    return gguf.GGUFReader(path)


def main():
    if len(sys.argv) != 3:
        sys.exit(__doc__)
    with open(sys.argv[1] + "/config.json", encoding="utf-8") as file:
        config = json.load(file)
    tensors = read_checkpoint(sys.argv[1])
    path = os.path.join(sys.argv[2], "model.gguf")
    reader = open_reader(path)
    types, differ = {}, []
    for tensor in reader.tensors:
        wanted = expected(tensors, config["quantization_config"], tensor.name)
        given = weights(tensor)
        if wanted.shape != given.shape or not np.array_equal(wanted, given):
            differ.append(tensor.name)
        types.setdefault(type_name(tensor), 0)
        types[type_name(tensor)] += given.size
    n_layers = config["num_hidden_layers"]
    assert len(reader.tensors) == 3 + n_layers * (len(PARTS) + len(PLAIN)), len(reader.tensors)
    tokens = reader.fields["tokenizer.ggml.tokens"]
    assert len(tokens.data) == config["vocab_size"]
    print(f"{path}: {len(reader.tensors)} tensors, {types}")
    if differ:
        sys.exit(f"differ: {differ}")
    print("every weight is scale * (code - zero)")


main()
