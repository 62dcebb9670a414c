# SPDX-License-Identifier: Apache-2.0
"""A plain reader of gptq checkpoints, and of the codes that a job keeps (FORMATS.md), in numpy."""
import glob
import json
import re
import struct
import sys

import numpy as np

DTYPES = {"I32": "<i4", "U8": "u1", "F16": "<f2", "BF16": "<u2", "F32": "<f4"}
SUPER = 256


def pairs_of(arguments, usage):
    """Every two arguments; without any, or with one over, @usage is printed and the program ends."""
    if not arguments or len(arguments) % 2:
        sys.exit(usage)
    return list(zip(arguments[::2], arguments[1::2]))


def read_checkpoint(folder):
    """{name: array}; BF16 as float32"""
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


def read_config(folder):
    with open(folder + "/config.json", encoding="utf-8") as file:
        return json.load(file)


def unpack(words, bits, axis):
    """Integers of @bits bits along @axis of @words, lowest bits first."""
    words = np.moveaxis(words.view(np.uint32), axis, -1)
    stream = np.unpackbits(np.ascontiguousarray(words).view(np.uint8), axis=-1, bitorder="little")
    stream = stream.reshape(*words.shape[:-1], -1, bits)
    values = (stream.astype(np.int32) << np.arange(bits)).sum(-1)
    return np.moveaxis(values, -1, axis)


def is_packed(tensors, name):
    return name + ".qweight" in tensors or name + ".codes" in tensors


def scheme_of(config, name):
    """bits and the rest for one matrix, by `dynamic`"""
    for pattern, settings in config.get("dynamic", {}).items():
        if re.match(pattern, name):
            return {**config, "sub_bits": 0, **settings}
    return config


class Matrix:
    """codes [rows, n], zeros and scales [rows, groups], group [n]; d and dmin [rows, n / 256] of a
    K grid, or None"""

    def __init__(self, tensors, name, config):
        scheme = scheme_of(config, name)
        self.bits = bits = scheme["bits"]
        kept = name + ".codes" in tensors
        self.codes = unpack(tensors[name + (".codes" if kept else ".qweight")], bits, 0).T
        self.scales = tensors[name + ".scales"].T
        self.group = tensors[name + ".g_idx"]
        self.d, self.dmin = (tensors[name + part].T if name + part in tensors else None
                             for part in (".d", ".dmin"))
        if kept:
            self.zeros = tensors[name + ".zeros"].T.astype(np.int32)
        else:
            self.zeros = unpack(tensors[name + ".qzeros"], bits, 1).T
            if scheme["checkpoint_format"] == "gptq":
                self.zeros = (self.zeros + 1) & ((1 << bits) - 1)

    def weights(self, dtype=np.float32):
        """Of K grids those of ggml, whose products are exact in float32."""
        codes = self.codes.astype(dtype)
        scales, zeros = (part.astype(dtype)[:, self.group] for part in (self.scales, self.zeros))
        if self.d is None:
            return scales * (codes - zeros)
        d, dmin = (None if part is None else np.repeat(part.astype(dtype), SUPER, 1)
                   for part in (self.d, self.dmin))
        return d * scales * (codes - zeros) if dmin is None else d * scales * codes - dmin * zeros
