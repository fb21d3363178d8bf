#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""weir serve under load, for longer than a test may take.

usage: WEIR=build/weir tests/soak/serve.py soak MODEL SECONDS
       WEIR=build/weir tests/soak/serve.py speed MODEL STREAMS TOKENS [OPTION...]
       WEIR=build/weir tests/soak/serve.py kept MODEL TOKENS FOLDER [OPTION...]

soak: clients of which many hang up; descriptors, memory and places must be
where they were.  speed: the time of a step with so many streams, beside that of
weir batch with the same texts and options; the rest is the server's.
kept: the first token of a prompt that is new, of one that memory has, and of
one that a file in FOLDER has, which must not be there, after a restart.
"""
import json
import os
import re
import selectors
import subprocess
import sys
import time

sys.path.insert(0, os.path.join(os.path.dirname(__file__), "..", "cli"))
sys.dont_write_bytecode = True
from serve import burst  # noqa: E402
from serve_client import WEIR, Server  # noqa: E402


def look(server):
    server.wait_for(calls=0, texts_running=0, texts_waiting=0)
    values = server.metrics()
    return (values["process_open_fds"],
            values["process_resident_memory_bytes"] / 2**20,
            sum(values["weir_texts_%s_total" % x]
                for x in ("ended", "cancelled", "failed")))


def soak(model, seconds):
    server = Server(model, "--parallel", "8", "--queue", "10", "--ctx", "512")
    end = time.monotonic() + float(seconds)
    burst(server, 25, 20, 0)
    fds, mib, _ = look(server)
    seed = 1000
    while time.monotonic() < end:
        ends = burst(server, 25, 40, seed)
        now = look(server)
        seed += 1000
        print("%d texts, %d descriptors, %.1f MiB, %s" %
              (now[2], now[0], now[1], ends), flush=True)
    good = now[0] == fds and now[1] < mib + 16 and server.end() == 0
    print("good" if good else "NOT GOOD: it began with %d descriptors, %.1f "
          "MiB" % (fds, mib))
    return not good


def batch_speed(model, n, n_tokens, options):
    line = json.dumps({"prompt": "In the beginning", "max_tokens": n_tokens,
                       "ignore_eos": True, "temperature": 0})
    done = subprocess.run(
        [WEIR, "batch", model, "-", "--batch", str(n), *options],
        input=(line + "\n") * n, capture_output=True, text=True, check=True)
    return float(re.search(r"tokens, [0-9.]+ s, ([0-9.]+) tok/s", done.stderr).group(1))


def loop_seconds(server):
    """CPU time of the thread that serves connections"""
    pid = server.process.pid
    with open("/proc/%d/task/%d/schedstat" % (pid, pid)) as file:
        return int(file.read().split()[0]) * 1e-9


def serve_speed(model, n, n_tokens, options):
    """Clients only read, so that they take little of the machine."""
    server = Server(model, "--parallel", str(n), *options)
    waiting = selectors.DefaultSelector()
    for _ in range(n):
        s = server.begin(max_tokens=n_tokens, ignore_eos=True, temperature=0,
                         stream=True)
        waiting.register(s, selectors.EVENT_READ)
    server.wait_for(texts_running=n)
    start, before = time.monotonic(), server.metrics()["weir_tokens_total"]
    while waiting.get_map():
        for key, _ in waiting.select():
            if key.fileobj.recv(1 << 20).endswith(b"0\r\n\r\n"):
                waiting.unregister(key.fileobj)
                key.fileobj.close()
    seconds = time.monotonic() - start
    values = server.metrics()
    loop = loop_seconds(server)
    server.end()
    between = (values["weir_time_between_tokens_seconds_sum"] /
               values["weir_time_between_tokens_seconds_count"])
    return ((values["weir_tokens_total"] - before) / seconds, between,
            loop / values["weir_tokens_total"])


def speed(model, n, n_tokens, *options):
    n, n_tokens = int(n), int(n_tokens)
    for _ in range(5):
        alone = batch_speed(model, n, n_tokens, options)
        served, between, loop = serve_speed(model, n, n_tokens, options)
        more = 1e3 * (1 / served - 1 / alone)
        print("batch %.0f tok/s, serve %.0f; a step %.3f ms, and %.3f; between "
              "tokens %.3f ms; a token costs %.4f ms more; connections took "
              "%.4f ms of a core for it" %
              (alone, served, 1e3 * n / alone, 1e3 * n / served, 1e3 * between,
               more, 1e3 * loop), flush=True)
    return 0


def first_token(server, prompt, n_tokens=1):
    """(seconds, tokens of the prompt that were kept) of an answer"""
    start = time.monotonic()
    status, _, body = server.complete(prompt, max_tokens=n_tokens,
                                      temperature=0, ignore_eos=True)
    assert status == 200, body
    kept_tok = body["usage"]["prompt_tokens_details"]["cached_tokens"]
    return time.monotonic() - start, kept_tok


def kept(model, n_tok, folder, *options):
    n_tok = int(n_tok)
    options = ["--ctx", str(n_tok + 32), "--parallel", "1", "--cache-ram", "8G",
               "--cache-dir", folder, "--timeout", "100000", *options]
    prompt = [1 + i * i % 499 for i in range(n_tok)]
    server = Server(model, *options)
    server.seconds = None
    print("new: %.3f s, of which %d tokens were kept" %
          first_token(server, prompt), flush=True)
    n_bytes = server.metrics()["weir_cache_bytes"]
    again = [first_token(server, prompt) for _ in range(9)]
    more = [first_token(server, prompt, 9) for _ in range(9)]
    again, more = sorted(again)[4], sorted(more)[4]
    assert again[1] == n_tok, again
    print("again: %.4f s, %d tokens were kept, %.0f MB; a step takes %.4f s" %
          (*again, n_bytes / 1e6, (more[0] - again[0]) / 8), flush=True)
    start = time.monotonic()
    server.end()
    saved = time.monotonic() - start
    server = Server(model, *options)
    print("after a restart: %.4f s, %d tokens were kept; saving took %.2f s" %
          (*first_token(server, prompt), saved))
    server.end()
    return 0


COMMANDS = {"soak": soak, "speed": speed, "kept": kept}

if __name__ == "__main__":
    if len(sys.argv) < 4 or sys.argv[1] not in COMMANDS:
        sys.exit(__doc__)
    sys.exit(COMMANDS[sys.argv[1]](*sys.argv[2:]))
