# SPDX-License-Identifier: Apache-2.0
"""
bench_kernels.py FORM RESULT: the rows of weir bench --kernels agree with each
other.  Prints the kinds of rows, each once.
"""

import csv
import json
import math
import sys

KEYS = """kernel missing steady cpu_level threads weights matrix tile_rows tile_cols
tokens gbps gflops bound_by bound share precision serves faster""".split()
ORDER = ["coarse", "fine", "f32"]
TILES = {("i8", "gate+up+in_proj"): (64, 4096), ("i8", "down"): (146, 1792),
         ("bf16", "gate+up+in_proj"): (32, 4096), ("bf16", "down"): (73, 1792)}


def near(a, b):
    return math.isclose(a, b, rel_tol=1e-12)


def from_csv(row):
    for key in KEYS:
        if key in ("gbps", "gflops", "bound", "share"):
            row[key] = float(row[key]) if row[key] else None
        elif key in ("steady", "threads", "tile_rows", "tile_cols", "tokens"):
            row[key] = int(row[key])
    row["serves"] = row["serves"].split("+") if row["serves"] else []
    for key in ("faster", "missing"):
        row[key] = row[key] or None
    return row


def read(form, path):
    with open(path) as f:
        if form == "json":
            return json.load(f)
        if form == "jsonl":
            return [json.loads(line) for line in f]
        return [from_csv(row) for row in csv.DictReader(f)]


def check_row(row):
    assert list(row) == KEYS, list(row)
    tile = row["tile_rows"], row["tile_cols"]
    assert tile == TILES[row["weights"], row["matrix"]], row
    assert row["bound"] > 0
    assert row["precision"] in ORDER
    if row["missing"]:
        assert row["gbps"] is row["gflops"] is row["share"] is None
        assert not row["serves"]
        return
    width = 2 if row["weights"] == "bf16" else 1
    assert row["gbps"] > 0
    assert near(row["gflops"], row["gbps"] * 2 * row["tokens"] / width), row
    of = row["gbps" if row["bound_by"] == "dram" else "gflops"]
    assert near(row["share"], of / row["bound"]), row


def check_cell(rows):
    """What each precision is done with, and who would be faster."""
    few = rows[0]["bound_by"] == "dram"
    served = [use for row in rows for use in row["serves"]]
    assert sorted(served) == (["f32"] if few else ["coarse", "fine"]), served
    assert len({row["kernel"] for row in rows}) == len(rows)
    for row in rows:
        assert row["steady"] or not row["serves"], row
        if not row["serves"]:
            assert row["faster"] is None, row
            continue
        least = min(ORDER.index(use) for use in row["serves"])
        assert least <= ORDER.index(row["precision"]), row
        better = [(other["gbps"], other["kernel"]) for other in rows
                  if not other["missing"] and other["steady"] and other["gbps"] > 1.1 * row["gbps"] and
                  ORDER.index(other["precision"]) >= least]
        assert row["faster"] == (max(better)[1] if better else None), rows


def main():
    rows = read(*sys.argv[1:])
    cells = {}
    for row in rows:
        check_row(row)
        cells.setdefault((row["threads"], row["bound_by"], row["weights"],
                          row["matrix"], row["tokens"]), []).append(row)
    for cell in cells.values():
        check_cell(cell)
    kinds = {}
    for threads, bound_by, weights, matrix, tokens in cells:
        kinds.setdefault("%s-%d-%d" % (bound_by, tokens, threads),
                         set()).add((weights, matrix))
    assert all(len(kind) == len(TILES) for kind in kinds.values()), kinds
    print(*kinds)


main()
