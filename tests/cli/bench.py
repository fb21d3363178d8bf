# SPDX-License-Identifier: Apache-2.0
"""
bench.py WEIR MODEL CONFIG N_PROMPT N_DECODE DEPTH KV RESULT [REPEATS]: the keys
of weir bench agree with each other, and with bytes and operations that are
counted here from weir inspect, weir logits and config.json.  With REPEATS the
weights were read under a budget.
"""

import collections
import json
import math
import os
import struct
import subprocess
import sys

KEYS = """test model codec device cpu_level threads batch depth tps_mean tps_sd
bytes_per_token flop_per_token read_gbps peak_gflops bound_tps bound_by share
distinct_experts matvec_gbps matvec_share""".split()

STREAM_KEYS = """ram_bytes model_bytes peak_rss_bytes drive_gbps drive_idle_gbps
read_gbps_disk share_of_drive drive_busy bytes_read hits misses evictions
guesses guesses_right wait_share stall_share plan_tps plan_by io cache""".split()


MASK_KEYS = """grammar_ms token_tree_ms mask_us_median mask_us_p99 mask_us_max
mask_texts""".split()


def near(a, b):
    return math.isclose(a, b, rel_tol=1e-12)


def test_ids(n, n_vocab):
    mask = (1 << 64) - 1
    for i in range(n):
        z = (i + 1) * 0x9E3779B97F4A7C15 & mask
        z = (z ^ z >> 30) * 0xBF58476D1CE4E5B9 & mask
        z = (z ^ z >> 27) * 0x94D049BB133111EB & mask
        yield (z ^ z >> 31) % n_vocab


class Model:
    def __init__(self, weir, path, config, kv):
        self.weir, self.path, self.kv = weir, path, kv
        with open(config) as f:
            self.c = json.load(f)
        told = json.loads(subprocess.check_output(
            [weir, "inspect", path, "--tensors", "--tiles", "--json"]))
        self.tensors = {t["name"]: t for t in told["tensors"]}
        self.tiles = told["tiles"]
        layers = range(self.c["num_hidden_layers"])
        self.attention = [i for i in layers if i % self.c["attn_layer_period"]
                          == self.c["attn_layer_offset"]]
        self.moe = [i for i in layers if self.c["num_experts"] > 1 and
                    i % self.c["expert_layer_period"]
                    == self.c["expert_layer_offset"]]

    def chosen(self, ids):
        """The experts of each token, [n_ids] of sets of (layer, expert)."""
        result = [set() for _ in ids]
        with open("ids", "w") as f:
            print(*ids, file=f)
        subprocess.check_call([self.weir, "logits", self.path, "--ids", "ids",
                               "-o", "router.safetensors", "--router",
                               "--kv", self.kv])
        with open("router.safetensors", "rb") as f:
            data = f.read()
        n = struct.unpack("<Q", data[:8])[0]
        head = json.loads(data[8:8 + n])
        for layer in self.moe:
            at, end = head["router.%d" % layer]["data_offsets"]
            scores = struct.unpack("<%df" % ((end - at) // 4),
                                   data[8 + n + at:8 + n + end])
            wide = self.c["num_experts"]
            for t in range(len(ids)):
                row = scores[t * wide:(t + 1) * wide]
                best = sorted(range(wide), key=lambda e: (-row[e], e))
                result[t] |= {(layer, e) for e in
                              best[:self.c["num_experts_per_tok"]]}
        return result

    def weights(self, ids, experts):
        """Stored bytes of what a pass over `ids` touches."""
        embed = self.tensors["model.embed_tokens.weight"]
        touched = [t for name, t in self.tensors.items()
                   if ".experts." not in name and t is not embed]
        for layer, e in experts:
            prefix = "model.layers.%d.feed_forward.experts.%d." % (layer, e)
            touched += [t for name, t in self.tensors.items()
                        if name.startswith(prefix)]
        total = sum(t["stored_bytes"] for t in touched)
        if "lm_head.weight" not in self.tensors:
            return total + embed["stored_bytes"]
        assert embed["col_blocks"] == 1
        part = embed["shape"][0] // embed["row_parts"]
        groups = -(-part // embed["tile_rows"])
        rows = {i // part * groups + i % part // embed["tile_rows"]
                for i in ids}
        return total + sum(
            self.tiles[embed["first_tile"] + i]["stored_bytes"] for i in rows)

    def widths(self):
        c = self.c
        hd = c["hidden_size"] // c["num_attention_heads"]
        return hd, c["mamba_expand"] * c["hidden_size"]

    def memory(self, n_past, n_tok):
        """Bytes of the state of Mamba and of K and V."""
        c = self.c
        hd, inner = self.widths()
        n_mamba = c["num_hidden_layers"] - len(self.attention)
        state = n_mamba * inner * (c["mamba_d_conv"] - 1 + c["mamba_d_state"])
        position = len(self.attention) * 2 * hd * c["num_key_value_heads"]
        return (2 * 4 * state + position * {"bf16": 2, "f32": 4}[self.kv] *
                (n_past + n_tok + n_tok))

    def flop(self, n_past, n_tok):
        c = self.c
        hd, inner = self.widths()
        shapes = collections.Counter()
        top = c["num_experts_per_tok"]
        for name, t in self.tensors.items():
            if name.endswith("_proj.weight") or ".router." in name:
                times = 1
                if ".experts." in name:
                    times = top if ".experts.0." in name else 0
                shapes["all"] += times * t["shape"][0] * t["shape"][1]
        n_mamba = c["num_hidden_layers"] - len(self.attention)
        scan = inner * (7 * c["mamba_d_state"] + 2 * c["mamba_d_conv"])
        seen = sum(n_past + t + 1 for t in range(n_tok))
        return (n_tok * (2 * shapes["all"] + n_mamba * scan) +
                4 * hd * c["num_attention_heads"] * len(self.attention) * seen
                + 2 * c["vocab_size"] * c["hidden_size"])


def check_bound(row, bounds):
    assert near(row["bound_tps"], min(bounds.values())), bounds
    assert near(bounds[row["bound_by"]], row["bound_tps"])
    assert near(row["share"], row["tps_mean"] / row["bound_tps"])


def check_row(row):
    assert row["device"] == "cpu"
    assert row["tps_mean"] > 0 and row["tps_sd"] >= 0
    assert len(row["read_gbps"]) == 2 and min(row["read_gbps"]) > 0
    assert row["peak_gflops"] > 0
    matvec = row["matvec_gbps"]
    if row["test"].startswith("pp"):
        assert matvec is None and row["matvec_share"] is None
    else:
        assert len(matvec) == 2 and min(matvec) > 0
        assert near(row["matvec_share"], row["tps_mean"] *
                    row["bytes_per_token"] / (sum(matvec) / 2 * 1e9))
    return sum(row["read_gbps"]) / 2 * 1e9, {
        "flops": row["peak_gflops"] * 1e9 / row["flop_per_token"]}


def check_keys(row, keys):
    """With the keys of masks behind all others, or without any of them"""
    masks = [row[key] for key in MASK_KEYS if key in row]
    assert list(row) == keys + (MASK_KEYS if masks else []), list(row)
    if not masks:
        return
    assert row["grammar_ms"] > 0 and row["token_tree_ms"] > 0
    if row["test"].startswith("pp"):
        assert masks[2:] == [None] * 4, masks
        return
    assert 0 < row["mask_us_median"] <= row["mask_us_p99"], masks
    assert row["mask_us_p99"] <= row["mask_us_max"], masks
    assert isinstance(row["mask_texts"], int) and row["mask_texts"] > 0


def check_mapped(row):
    check_keys(row, KEYS)
    dram, bounds = check_row(row)
    bounds["dram"] = dram / row["bytes_per_token"]
    check_bound(row, bounds)


def check_streamed(model, row, n_tok, step, repeats):
    check_keys(row, KEYS + STREAM_KEYS)
    dram, bounds = check_row(row)
    read = row["bytes_read"] / (row["batch"] * n_tok * repeats)
    bounds["dram"] = dram / (row["bytes_per_token"] + read)
    if read:
        bounds["drive"] = row["drive_gbps"] * 1e9 / read
    check_bound(row, bounds)
    assert row["drive_gbps"] > 0 and row["drive_idle_gbps"] > 0
    assert near(row["share_of_drive"],
                row["read_gbps_disk"] / row["drive_gbps"])
    for share in "drive_busy", "wait_share", "stall_share":
        assert 0 <= row[share] <= 1, (share, row[share])
    assert row["stall_share"] <= row["wait_share"]
    assert row["model_bytes"] == os.path.getsize(model.path)
    # distinct_experts is the mean of steps, which texts make uneven
    n_steps = n_tok // step * repeats
    more = row["hits"] + row["misses"] - row["distinct_experts"] * n_steps
    assert 0 <= more < n_steps if row["batch"] > 1 else more == 0, row
    assert row["guesses_right"] <= row["guesses"]
    # A plan wants more memory for the program than a small one takes.
    assert (row["plan_tps"] > 0) == (row["plan_by"] != "none")
    assert row["plan_by"] in ("disk", "dram", "cores", "none")
    assert 0 < row["peak_rss_bytes"] <= row["ram_bytes"], row
    assert row["io"] in ("io_uring", "pread")
    assert row["cache"] in ("stored", "unpacked")


def check_costs(model, row, n_prompt, n_decode, depth):
    prompt = row["test"] == "pp%d" % n_prompt
    assert prompt or row["test"] == "tg%d" % n_decode, row["test"]
    n = n_prompt if prompt else n_decode
    step = n if prompt else 1
    batch = row["batch"]
    each = depth + max(n_prompt, n_decode) + 1
    ids = list(test_ids(batch * each, model.c["vocab_size"]))
    texts = [ids[i * each:i * each + depth + n] for i in range(batch)]
    chosen = [model.chosen(text) for text in texts]
    n_bytes = flop = n_experts = 0
    for at in range(depth, depth + n, step):
        experts = set().union(*(c for one in chosen
                                for c in one[at:at + step]))
        n_bytes += model.weights([i for text in texts
                                  for i in text[at:at + step]], experts)
        n_bytes += batch * model.memory(at, step)
        flop += batch * model.flop(at, step)
        n_experts += len(experts)
    n_all = batch * n
    assert row["depth"] == depth
    assert near(row["bytes_per_token"], n_bytes / n_all), (row, n_bytes)
    assert near(row["flop_per_token"], flop / n_all), (row, flop)
    assert row["distinct_experts"] == n_experts * step // n, (row, n_experts)


def main():
    weir, path, config, n_prompt, n_decode, depth, kv, result = sys.argv[1:9]
    with open(result) as f:
        rows = json.load(f)
    model = Model(weir, path, config, kv)
    for row in rows:
        if len(sys.argv) == 9:
            check_mapped(row)
        elif row["test"].startswith("pp"):
            check_streamed(model, row, int(n_prompt), int(n_prompt),
                           int(sys.argv[9]))
        else:
            check_streamed(model, row, int(n_decode), 1, int(sys.argv[9]))
        check_costs(model, row, int(n_prompt), int(n_decode), int(depth))
    print(*("%s-%d" % (row["test"], row["threads"]) for row in rows))


main()
