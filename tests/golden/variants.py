#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Writes the checkpoint of a folder as other software stores the same weights.

usage: variants.py FOLDER OUT f32|f16|fused|extra|missing|i64|tied-head
"""

import json
import os
import re
import shutil
import struct
import sys

EXPERT = re.compile(r"(.*\.experts)\.(\d+)\.(gate|up|down)_proj\.weight$")


def read(path):
    """name -> [dtype, shape, bytes]"""
    with open(path, "rb") as f:
        data = f.read()
    n = struct.unpack("<Q", data[:8])[0]
    header = json.loads(data[8:8 + n])
    out = {}
    for name, entry in header.items():
        if name != "__metadata__":
            begin, end = entry["data_offsets"]
            out[name] = [entry["dtype"], entry["shape"],
                         data[8 + n + begin:8 + n + end]]
    return out


def write(path, tensors):
    header, at, parts = {}, 0, []
    for name, (dtype, shape, data) in tensors.items():
        header[name] = {"dtype": dtype, "shape": shape,
                        "data_offsets": [at, at + len(data)]}
        at += len(data)
        parts.append(data)
    text = json.dumps(header).encode()
    with open(path, "wb") as f:
        f.write(struct.pack("<Q", len(text)) + text + b"".join(parts))


def widen(data):
    """bf16 to f32: two zero bytes below each element."""
    n = len(data) // 2
    wide = bytearray(4 * n)
    wide[2::4] = data[0::2]
    wide[3::4] = data[1::2]
    return bytes(wide)


def as_f32(tensors):
    for tensor in tensors.values():
        tensor[0], tensor[2] = "F32", widen(tensor[2])


def as_f16(tensors):
    for tensor in tensors.values():
        n = len(tensor[2]) // 2
        values = struct.unpack(f"<{n}f", widen(tensor[2]))
        tensor[0], tensor[2] = "F16", struct.pack(f"<{n}e", *values)


def as_fused(tensors):
    """The tensors that transformers 5 has in memory."""
    found = {}
    for name in list(tensors):
        match = EXPERT.match(name)
        if match:
            layer = found.setdefault(match[1], {})
            layer[int(match[2]), match[3]] = tensors.pop(name)
    for prefix, parts in found.items():
        n = 1 + max(e for e, _ in parts)
        inter, hidden = parts[0, "gate"][1]
        gate_up = b"".join(parts[e, kind][2]
                           for e in range(n) for kind in ("gate", "up"))
        down = b"".join(parts[e, "down"][2] for e in range(n))
        tensors[prefix + ".gate_up_proj"] = [
            "BF16", [n, 2 * inter, hidden], gate_up]
        tensors[prefix + ".down_proj"] = ["BF16", [n, hidden, inter], down]


def with_extra(tensors):
    tensors["model.layers.0.surprise.weight"] = ["BF16", [2], bytes(4)]


def with_missing(tensors):
    del tensors["model.layers.0.mamba.D"]


def with_i64(tensors):
    tensor = tensors["model.layers.0.mamba.D"]
    tensor[0], tensor[2] = "I64", bytes(4 * len(tensor[2]))


def with_tied_head(tensors):
    tensors["lm_head.weight"] = tensors["model.embed_tokens.weight"]


VARIANTS = {
    "f32": as_f32, "f16": as_f16, "fused": as_fused, "extra": with_extra,
    "missing": with_missing, "i64": with_i64, "tied-head": with_tied_head,
}


def main():
    folder, out, variant = sys.argv[1:]
    tensors = read(os.path.join(folder, "model.safetensors"))
    VARIANTS[variant](tensors)
    os.makedirs(out, exist_ok=True)
    write(os.path.join(out, "model.safetensors"), tensors)
    shutil.copyfile(os.path.join(folder, "config.json"),
                    os.path.join(out, "config.json"))


main()
