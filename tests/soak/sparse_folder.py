#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Makes a checkpoint folder with the names and shapes of a Jamba model and
all weights zero, as sparse files: Mini takes no space, and no memory.

usage: sparse_folder.py mini|large FOLDER [N_SHARDS]
"""

import json
import os
import struct
import sys

SHAPES = {
    "mini": dict(hidden=4096, inter=14336, layers=32, heads=32, rank=256),
    "large": dict(hidden=8192, inter=24576, layers=72, heads=64, rank=512),
}


def tensors(s):
    """Names and shapes in the order of the layers."""
    hidden, inter, rank = s["hidden"], s["inter"], s["rank"]
    inner, keys = 2 * hidden, 8 * 128
    mamba = {
        "in_proj.weight": [2 * inner, hidden],
        "conv1d.weight": [inner, 1, 4],
        "conv1d.bias": [inner],
        "x_proj.weight": [rank + 32, inner],
        "dt_layernorm.weight": [rank],
        "b_layernorm.weight": [16],
        "c_layernorm.weight": [16],
        "dt_proj.weight": [inner, rank],
        "dt_proj.bias": [inner],
        "A_log": [inner, 16],
        "D": [inner],
        "out_proj.weight": [hidden, inner],
    }
    attention = {
        "q_proj.weight": [hidden, hidden],
        "k_proj.weight": [keys, hidden],
        "v_proj.weight": [keys, hidden],
        "o_proj.weight": [hidden, hidden],
    }
    mlp = {
        "gate_proj.weight": [inter, hidden],
        "up_proj.weight": [inter, hidden],
        "down_proj.weight": [hidden, inter],
    }
    yield "model.embed_tokens.weight", [65536, hidden]
    for i in range(s["layers"]):
        layer = f"model.layers.{i}."
        yield layer + "input_layernorm.weight", [hidden]
        yield layer + "pre_ff_layernorm.weight", [hidden]
        mixer = ("self_attn.", attention) if i % 8 == 4 else ("mamba.", mamba)
        for name, shape in mixer[1].items():
            yield layer + mixer[0] + name, shape
        if i % 2 == 0:
            for name, shape in mlp.items():
                yield layer + "feed_forward." + name, shape
            continue
        yield layer + "feed_forward.router.weight", [16, hidden]
        for e in range(16):
            for name, shape in mlp.items():
                yield f"{layer}feed_forward.experts.{e}.{name}", shape
    yield "model.final_layernorm.weight", [hidden]
    yield "lm_head.weight", [65536, hidden]


def n_bytes(shape):
    n = 2
    for width in shape:
        n *= width
    return n


def write_shard(path, members):
    header, at = {}, 0
    for name, shape in members:
        end = at + n_bytes(shape)
        header[name] = {
            "dtype": "BF16", "shape": shape, "data_offsets": [at, end]}
        at = end
    text = json.dumps(header).encode()
    with open(path, "wb") as f:
        f.write(struct.pack("<Q", len(text)) + text)
        f.truncate(8 + len(text) + at)


def write_config(path, s):
    config = {
        "model_type": "jamba", "architectures": ["JambaForCausalLM"],
        "vocab_size": 65536, "hidden_size": s["hidden"],
        "intermediate_size": s["inter"], "num_hidden_layers": s["layers"],
        "num_attention_heads": s["heads"], "num_key_value_heads": 8,
        "mamba_dt_rank": s["rank"], "eos_token_id": [2, 518],
    }
    with open(path, "w") as f:
        json.dump(config, f, indent=1)


def main():
    shape, folder = SHAPES[sys.argv[1]], sys.argv[2]
    n_shards = int(sys.argv[3]) if len(sys.argv) > 3 else 21
    members = list(tensors(shape))
    total = sum(n_bytes(s) for _, s in members)
    os.makedirs(folder, exist_ok=True)
    shards, done = [[] for _ in range(n_shards)], 0
    for member in members:
        shards[min(n_shards - 1, done * n_shards // total)].append(member)
        done += n_bytes(member[1])
    weight_map = {}
    for i, shard in enumerate(shards):
        name = f"model-{i + 1:05d}-of-{n_shards:05d}.safetensors"
        write_shard(os.path.join(folder, name), shard)
        weight_map.update({tensor: name for tensor, _ in shard})
    with open(os.path.join(folder, "model.safetensors.index.json"), "w") as f:
        json.dump({"metadata": {"total_size": total},
                   "weight_map": weight_map}, f, indent=1)
    write_config(os.path.join(folder, "config.json"), shape)
    print(f"{len(members)} tensors, {total} bytes in {n_shards} shards")


main()
