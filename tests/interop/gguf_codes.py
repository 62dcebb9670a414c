#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Is every weight of a GGUF export that of the codes that the job computed?

Usage: gguf_codes.py CODES GGUF_CHECKPOINT [CODES GGUF_CHECKPOINT ...]

Both are folders of one job: CODES is its gptq export or, for K grids, which gptq cannot hold, the
folder codes/ of the job; the second its gguf export. The file is read and dequantized by the
package gguf of the Python package index, which knows nothing of quantd, and compared in f32, where
equal is equal. Needs gguf and numpy. Q2_0 is newer than gguf 0.19 and is decoded here; with the
gguf-py of a newer llama.cpp the package does it. No suite runs it.
"""
import importlib.metadata
import os
import sys

import gguf
import numpy as np

from gptq_reader import Matrix, is_packed, pairs_of, read_checkpoint, read_config

PARTS = {"attn_q": "self_attn.q_proj", "attn_k": "self_attn.k_proj", "attn_v": "self_attn.v_proj",
         "attn_output": "self_attn.o_proj", "ffn_gate_exps": "mlp.experts.{}.gate_proj",
         "ffn_up_exps": "mlp.experts.{}.up_proj", "ffn_down_exps": "mlp.experts.{}.down_proj"}
PLAIN = {"attn_norm": "input_layernorm", "attn_q_norm": "self_attn.q_norm",
         "attn_k_norm": "self_attn.k_norm", "ffn_norm": "post_attention_layernorm",
         "ffn_gate_inp": "mlp.gate"}
OUTER = {"token_embd.weight": "model.embed_tokens.weight", "output_norm.weight": "model.norm.weight",
         "output.weight": "lm_head.weight"}
Q2_0 = 42

Q2_0_MISSING = Q2_0 not in [kind.value for kind in gguf.GGMLQuantizationType]


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


def decoded(tensors, config, name):
    return Matrix(tensors, name, config["quantization_config"]).weights() if is_packed(tensors, name) else \
        tensors[name + ".weight"]


def outer(tensors, tensor):
    """Embedding, norm or head; Q8_0 as ggml rounds it."""
    wanted = tensors.get(OUTER[tensor.name], tensors["model.embed_tokens.weight"])
    if type_name(tensor) != "Q8_0":
        return wanted
    kind = gguf.GGMLQuantizationType.Q8_0
    return gguf.dequantize(gguf.quantize(wanted, kind), kind).reshape(wanted.shape)


def expected(tensors, config, tensor):
    if tensor.name in OUTER:
        return outer(tensors, tensor)
    _, layer, part, _ = tensor.name.split(".")
    prefix = f"model.layers.{layer}."
    if part in PLAIN:
        return tensors[prefix + PLAIN[part] + ".weight"]
    matrix = prefix + PARTS[part]
    if "{}" not in matrix:
        return decoded(tensors, config, matrix)
    return np.stack([decoded(tensors, config, matrix.format(expert))
                     for expert in range(config["num_experts"])])


def type_name(tensor):
    return getattr(tensor.tensor_type, "name", "Q2_0")


def learn_q2_0():
    """Adds the type to a package that does not know it."""
    real = gguf.gguf_reader.GGMLQuantizationType

    def kind(number):
        return Q2_0 if number == Q2_0 else real(number)

    for member in real:
        setattr(kind, member.name, member)
    gguf.gguf_reader.GGMLQuantizationType = kind
    gguf.gguf_reader.GGML_QUANT_SIZES.setdefault(Q2_0, (64, 18))
    real_shape = gguf.gguf_reader.quant_shape_to_byte_shape

    def byte_shape(shape, quant_type):
        if quant_type == Q2_0:
            return (*shape[:-1], int(shape[-1]) // 64 * 18)
        return real_shape(shape, quant_type)

    gguf.gguf_reader.quant_shape_to_byte_shape = byte_shape


def compare(codes, folder):
    """Names of tensors that differ."""
    config, tensors = read_config(codes), read_checkpoint(codes)
    path = os.path.join(folder, "model.gguf")
    reader = gguf.GGUFReader(path)
    types, differ = {}, []
    for tensor in reader.tensors:
        wanted, given = expected(tensors, config, tensor), weights(tensor)
        if wanted.shape != given.shape or not np.array_equal(wanted, given):
            differ.append(tensor.name)
        types.setdefault(type_name(tensor), 0)
        types[type_name(tensor)] += given.size
    n_layers = config["num_hidden_layers"]
    assert len(reader.tensors) == 3 + n_layers * (len(PARTS) + len(PLAIN)), len(reader.tensors)
    assert len(reader.fields["tokenizer.ggml.tokens"].data) == config["vocab_size"]
    counts = ", ".join(f"{name} {types[name]}" for name in sorted(types))
    print(f"{os.path.basename(folder.rstrip('/'))}: weights by type: {counts}: "
          + (f"DIFFER: {differ}" if differ else "all equal"), flush=True)
    return differ


def main():
    pairs = pairs_of(sys.argv[1:], __doc__)
    print(f"gguf {importlib.metadata.version('gguf')}")
    if Q2_0_MISSING:
        learn_q2_0()
    sys.exit(any([compare(*pair) for pair in pairs]))


main()
