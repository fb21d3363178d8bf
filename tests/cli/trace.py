# SPDX-License-Identifier: Apache-2.0
"""
trace.py WHAT TIMELINE [FILE]: what weir writes with --trace is JSON whose spans
lie in each other or apart, and weir trace adds them up as is done here.
"""

import collections
import json
import math
import sys
import xml.etree.ElementTree

PARTS = ("mamba", "attention", "experts", "mlp")
KEYS = {"decode": "decode", "checksum": "checksum", "serial": "alone",
        "wait-tile": "wait_tiles", "wait-pool": "wait_threads"}


def key(event):
    if event["cat"] != "compute":
        return KEYS[event["cat"]]
    part = event["args"].get("part")
    return part if part in PARTS else "rest"


def end(event):
    return event["ts"] + event["dur"]


def own_times(events, length):
    """The time of each kind less what lies in it, and what is left over."""
    times = collections.Counter()
    stack, top = [], 0
    for event in events:
        while stack and end(stack[-1]) <= event["ts"] + 1e-6:
            stack.pop()
        times[key(event)] += event["dur"]
        if stack:
            assert end(event) <= end(stack[-1]) + 1e-6, (event, stack[-1])
            times[key(stack[-1])] -= event["dur"]
        else:
            top += event["dur"]
        stack.append(event)
    times["nothing"] = length - top
    return times


class Timeline:
    def __init__(self, path):
        with open(path) as f:
            self.data = json.load(f)
        self.threads = collections.defaultdict(list)
        self.reads = []
        names = 0
        for event in self.data["traceEvents"]:
            if event["ph"] == "M":
                names += 1
                continue
            assert event["ph"] == "X" and event["dur"] >= 0
            assert end(event) <= self.length() + 1e-6
            if event["pid"] == 2:
                self.reads.append(event)
            else:
                self.threads[event["tid"]].append(event)
        assert names >= 2 + len(self.threads)
        for events in self.threads.values():
            starts = [e["ts"] for e in events]
            assert starts == sorted(starts)

    def length(self):
        return self.data["otherData"]["length_us"]

    def all(self):
        return [e for events in self.threads.values() for e in events]


def mapped(timeline, _):
    # The second one may come when all is done.
    assert sorted(timeline.threads) in ([0], [0, 1]) and not timeline.reads
    layers = {e["args"]["layer"] for e in timeline.all() if "layer" in e["args"]}
    assert layers == set(range(8))
    parts = {e["args"].get("part") for e in timeline.all()}
    assert parts >= {"loading", "embedding", "head", "sampling", *PARTS}
    kinds = {e["cat"] for e in timeline.all()}
    assert kinds >= {"compute", "decode", "checksum", "serial", "wait-pool"}
    names = {e["name"] for e in timeline.all()}
    assert names >= {"in_proj", "x_proj", "dt_proj", "out_proj", "scan", "conv",
                     "q, k, v", "o_proj", "router", "gate, up", "down",
                     "lm_head", "norm", "attention"}, names
    attention = {e["args"]["layer"] for e in timeline.all()
                 if e["name"] == "q, k, v"}
    assert attention == {4}
    routed = {e["args"]["layer"] for e in timeline.all()
              if e["name"] == "router"}
    assert routed == {1, 3, 5, 7}


def read(timeline, told):
    with open(told) as f:
        weights = json.load(f)["weights"]
    # a wrong guess may still be on its way when the last token is there
    last = max(end(e) for e in timeline.all() if e["cat"] == "compute")
    reads = [e for e in timeline.reads if e["name"] == "read"]
    n = sum(e["args"]["bytes"] for e in reads)
    late = sum(e["args"]["bytes"] for e in reads if end(e) > last)
    assert 0 < n - late <= weights["read_bytes"] <= n, (n, late, weights)
    assert all(e["args"]["offset"] % 4096 == 0 for e in timeline.reads)
    waits = [e for e in timeline.all() if e["cat"] == "wait-tile"]
    stalls = [e for e in waits if e["name"] == "for a tile"]
    assert len(stalls) == weights["stalls"], (len(stalls), weights)


def sums(timeline, told):
    with open(told) as f:
        told = json.load(f)
    all_times = collections.Counter()
    for thread in told["threads"]:
        times = own_times(timeline.threads[thread["thread"]],
                          timeline.length())
        all_times += times
        for name, s in thread["seconds"].items():
            assert math.isclose(s, times[name] * 1e-6, abs_tol=1e-6), name
    assert len(told["threads"]) == len(timeline.threads)
    for name, s in told["seconds"].items():
        assert math.isclose(s, all_times[name] * 1e-6, abs_tol=1e-6), name
    down = sum(o["seconds"] for o in told["operations"]
               if o["operation"] == "down" and o["part"] == "experts")
    assert 0 < down <= told["seconds"]["experts"]
    assert told["drive"]["requests"] == len(timeline.reads)
    assert math.isclose(told["drive"]["request_s"],
                        sum(e["dur"] for e in timeline.reads) * 1e-6,
                        abs_tol=1e-6)
    layer = sum(told["layers"][4].values())
    assert 0 < layer < sum(told["seconds"].values())


def some(timeline, _):
    assert timeline.all()


def cut(timeline, _):
    """Of a run that goes on for as long as it takes to end it"""
    assert {e["name"] for e in timeline.all()} >= {"lm_head", "router"}


def svg(timeline, path):
    root = xml.etree.ElementTree.parse(path).getroot()
    space = "{http://www.w3.org/2000/svg}"
    assert root.tag == space + "svg"
    words = " ".join(t.text for t in root.iter(space + "text"))
    for wanted in ("decoding tiles", "thread 0", "busy", "layer", "mamba"):
        assert wanted in words, words
    assert len(timeline.threads) == 1 or "all threads" in words
    for thread in timeline.threads:
        assert f"thread {thread}" in words
    high = float(root.get("height"))
    for box in root.iter(space + "rect"):
        if box.get("height") != "100%":
            assert float(box.get("y")) + float(box.get("height")) <= high
            assert float(box.get("x")) + float(box.get("width")) <= 1281


if __name__ == "__main__":
    found = Timeline(sys.argv[2])
    assert sys.argv[1] == "cut" or found.data["otherData"]["dropped"] == 0
    globals()[sys.argv[1]](found, sys.argv[3])
