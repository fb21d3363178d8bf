# SPDX-License-Identifier: Apache-2.0
"""weir serve MODEL BYTES: the log-probabilities of its answers.

They are held against a log softmax of what weir logits says of the same ids.
BYTES is a model whose tokens are single bytes, and words."""
import array
import json
import math
import subprocess
import sys

from serve_client import WEIR, Server, done, events, ok


# ---- what the model says ----

def logits_of(model, ids):
    """The scores behind each of the ids"""
    with open("ids", "w") as file:
        file.write(" ".join(map(str, ids)))
    subprocess.run([WEIR, "logits", model, "--ids", "ids", "--chunk", "1",
                    "-o", "logits.safetensors"], check=True,
                   stdout=subprocess.DEVNULL)
    with open("logits.safetensors", "rb") as file:
        n = int.from_bytes(file.read(8), "little")
        entry = json.loads(file.read(n))["logits"]
        assert entry["dtype"] == "F32"
        begin, end = entry["data_offsets"]
        file.seek(8 + n + begin)
        values = array.array("f", file.read(end - begin))
    width = entry["shape"][-1]
    return [values[i:i + width] for i in range(0, len(values), width)]


def log_softmax(row):
    best = max(row)
    total = math.fsum(math.exp(x - best) for x in row)
    return [x - best - math.log(total) for x in row]


def near(a, b):
    return abs(a - b) < 1e-5 + 1e-6 * abs(b)


def check_numbers(server, model, what, n_best, **keys):
    """Own and best scores of each token are those of the bare model."""
    prompt = server.ask("POST", "/tokenize", {"prompt": "In the beginning"})[2]
    choice = server.complete(prompt["tokens"], logprobs=n_best, max_tokens=12,
                             return_token_ids=True, **keys)[2]["choices"][0]
    ids, got = choice["token_ids"], choice["logprobs"]
    rows = logits_of(model, prompt["tokens"] + ids[:-1])[-len(ids):]
    rows = [log_softmax(row) for row in rows]
    ok(len(ids) == len(got["tokens"]) == len(got["token_logprobs"]) ==
       len(got["top_logprobs"]) == len(got["text_offset"]) and
       all(near(x, row[i]) for x, row, i in
           zip(got["token_logprobs"], rows, ids)), "%s: own scores" % what)
    good = True
    for best, row, token in zip(got["top_logprobs"], rows, got["tokens"]):
        wanted = sorted(row, reverse=True)[:n_best]
        values = list(best.values())
        good &= (token in best and len(best) - n_best in (0, 1) and
                 all(near(x, y) for x, y in zip(values, wanted)) and
                 (len(best) == n_best or list(best)[-1] == token))
    ok(good, "%s: the best, and the token itself" % what)
    ok("".join(got["tokens"]) == choice["text"], "%s: tokens are the text" %
       what)
    return ids


def test_numbers(model):
    server = Server(model, "--kv", "f32")
    greedy = check_numbers(server, model, "greedy", 5, temperature=0)
    drawn = check_numbers(
        server, model, "drawn", 20, temperature=1.7, seed=3, top_k=40,
        repetition_penalty=1.5, presence_penalty=1,
        logit_bias={str(greedy[0]): -100})
    ok(drawn[0] != greedy[0], "what is drawn does not show in them")
    check_numbers(server, model, "no others", 0, temperature=1, seed=5)
    ok(server.end() == 0, "the server ends")


# ---- texts, and streams of them ----

def raw(token):
    """The bytes of a token of a text completion"""
    if not token.startswith("bytes:"):
        return token.encode()
    return bytes.fromhex(token[6:].replace("\\x", ""))


def decode(parts):
    """Text of tokens as bytes, and where each begins: a run of bytes is
    characters, or each byte of it is U+FFFD."""
    text, offsets, i = "", [], 0
    while i < len(parts):
        end = i
        while end < len(parts) and len(parts[end]) == 1:
            end += 1
        run = b"".join(parts[i:end])
        try:
            shown = run.decode()
            for k in range(len(run)):
                offsets.append(len(text) + len(run[:k + 1].decode(
                    "utf-8", "ignore")) -
                    (k + 1 == len(run) or run[k + 1] & 0xc0 != 0x80))
        except UnicodeDecodeError:
            shown = "\ufffd" * len(run)
            offsets += range(len(text), len(text) + len(run))
        text += shown
        if end < len(parts):
            offsets.append(len(text))
            text += parts[end].decode()
            end += 1
        i = end
    return text, offsets


FIELDS = ["tokens", "token_logprobs", "top_logprobs", "text_offset"]


def gather(objects, n=1):
    """Text and log-probabilities of the choices of a stream.  A token comes
    with the part that has its first character."""
    texts = [""] * n
    scores = [{x: [] for x in FIELDS} for _ in range(n)]
    for event in objects:
        for choice in event["choices"]:
            i = choice["index"]
            before, more = len(texts[i]), choice["logprobs"]
            texts[i] += choice["text"]
            for field in FIELDS:
                scores[i][field] += more[field] if more else []
            assert all(before <= x < len(texts[i])
                       for x in (more or {}).get("text_offset", []))
    return texts, scores


def same_in_stream(server, what, prompt="In the beginning", n=1, **keys):
    whole = server.complete(prompt, n=n, **keys)[2]["choices"]
    objects, done = events(server.complete(prompt, n=n, stream=True,
                                           **keys)[2])
    texts, scores = gather(objects, n)
    ok(done and texts == [x["text"] for x in whole] and
       scores == [x["logprobs"] for x in whole], "%s: the same in a stream" %
       what)
    return whole


def test_texts(server):
    keys = {"max_tokens": 40, "logprobs": 2, "temperature": 1, "seed": 4}
    whole = same_in_stream(server, "three choices", n=3, **keys)
    ok(len({x["text"] for x in whole}) == 3 and
       all("".join(x["logprobs"]["tokens"]) == x["text"] for x in whole),
       "each choice has its own")
    full = whole[0]
    starts = full["logprobs"]["text_offset"]
    for begin in starts[9], starts[9] - 1:
        stop = full["text"][begin:begin + 7]
        cut = full["text"].partition(stop)[0]
        choice = same_in_stream(server, "a stop string", stop=[stop],
                                **keys)[0]
        n = sum(x < len(cut) for x in starts)
        ok(choice["text"] == cut and 0 < n < 40 and
           choice["logprobs"] == {x: full["logprobs"][x][:n] for x in FIELDS},
           "what a stop string cuts off has none: %r" % stop)
    token = full["logprobs"]["tokens"][5]
    offset = full["logprobs"]["text_offset"][5]
    if len(token) > 1:
        stop = full["text"][offset + 1:offset + 9]
        choice = same_in_stream(server, "within a token", stop=[stop],
                                **keys)[0]
        n = len(choice["logprobs"]["tokens"])
        ok(choice["text"] == full["text"].partition(stop)[0] and
           choice["logprobs"]["tokens"] == full["logprobs"]["tokens"][:n] and
           choice["logprobs"]["text_offset"][-1] < len(choice["text"]),
           "a token of which a part is left has one")
    ok(server.complete(max_tokens=40, temperature=1, seed=4)[2]["choices"][0] ==
       {**full, "logprobs": None}, "who does not ask gets none")


def test_bytes(model):
    """Random bytes, of which few are characters"""
    server = Server(model)
    wide = [3 + 0xc3, 3 + 0xa9, 3 + 0xe2, 3 + 0x82, 3 + 0xac, 3 + 0x41,
            *range(300, 304)]
    n_bad = n_wide = 0
    for seed in range(4):
        keys = {"max_tokens": 120, "temperature": 1.5, "seed": seed,
                "ignore_eos": True, "logprobs": 3,
                "logit_bias": {**{str(x): 12 for x in wide},
                               **{str(x): -100 for x in range(3)}}}
        choice = same_in_stream(server, "bytes, seed %d" % seed, "x",
                                **keys)[0]
        got = choice["logprobs"]
        parts = [raw(x) for x in got["tokens"]]
        ok(len(parts) == 120 and (choice["text"], got["text_offset"]) ==
           decode(parts), "bytes of tokens, and where they stand")
        n_bad += choice["text"].count("\ufffd")
        n_wide += sum(ord(x) > 127 and x != "\ufffd" for x in choice["text"])
    ok(n_wide > 3 and n_bad > 20,
       "%d characters of several tokens, and %d bytes of none" %
       (n_wide, n_bad))
    ok(server.end() == 0, "the server ends")


# ---- chats ----

def schema_format(schema):
    return {"type": "json_schema", "json_schema": {"name": "x",
                                                   "schema": schema}}


def text_of(content):
    return b"".join(bytes(x["bytes"] or []) for x in content).decode()


def same_chat(server, what, n=1, **keys):
    """The choices of a chat, which are the same in a stream"""
    whole = server.chat(logprobs=True, n=n, **keys)[2]["choices"]
    objects, done = events(server.chat(logprobs=True, n=n, stream=True,
                                       **keys)[2])
    texts, scores = [b""] * n, [[] for _ in range(n)]
    for event in objects:
        for choice in event["choices"]:
            i = choice["index"]
            known = sum(len(x["bytes"] or []) for x in scores[i])
            assert len(texts[i]) <= known or choice["delta"].get("content")
            texts[i] += (choice["delta"].get("content") or "").encode()
            for token in (choice["logprobs"] or {}).get("content", []):
                assert not token["bytes"] or known < len(texts[i])
                known += len(token["bytes"] or [])
                scores[i].append(token)
            assert known >= len(texts[i])
    ok(done and
       texts == [(x["message"]["content"] or "").encode() for x in whole] and
       [{"content": x, "refusal": None} for x in scores] ==
       [x["logprobs"] for x in whole], "%s: the same in a stream" % what)
    return whole


def test_chats(server):
    for choice in same_chat(server, "two chats", n=2, temperature=1.5, seed=2,
                            top_logprobs=20, max_tokens=30,
                            return_token_ids=False):
        content = choice["logprobs"]["content"]
        ok(text_of(content) == choice["message"]["content"] and
           "".join(x["token"] for x in content) ==
           choice["message"]["content"] and
           all(len(x["top_logprobs"]) == 20 and
               x["top_logprobs"] == sorted(x["top_logprobs"], reverse=True,
                                           key=lambda y: y["logprob"]) and
               x["top_logprobs"][0]["logprob"] >= x["logprob"]
               for x in content), "tokens, bytes and the best of a chat")
    status, _, body = server.chat(logprobs=True, temperature=0)
    content = body["choices"][0]["logprobs"]["content"]
    ok(status == 200 and
       len(content) == body["usage"]["completion_tokens"] and
       all(x["top_logprobs"] == [] for x in content),
       "no others where none are asked for")
    text = server.complete(
        server.ask("POST", "/apply-template", {"messages": [
            {"role": "user", "content": "Say: my horse is slow"}]})[2][
                "prompt"], temperature=0, logprobs=0)[2]["choices"][0]
    ok([x["logprob"] for x in content] == text["logprobs"]["token_logprobs"],
       "a chat has the numbers of a text")
    choice = same_chat(server, "characters", temperature=0, max_tokens=40,
                       response_format=schema_format(
                           {"const": "\u00e9\u20ac\U0001f600"}))[0]
    content = choice["logprobs"]["content"]
    split = [x for x in content if x["token"].startswith("\\x")]
    ok(text_of(content) == choice["message"]["content"] and len(split) > 4 and
       all(x["token"] == "\\x%02x" % x["bytes"][0] and len(x["bytes"]) == 1
           for x in split), "a character in several tokens: %s" %
       [x["token"] for x in content])
    content = server.chat(logprobs=True, ignore_eos=True, max_tokens=3,
                          logit_bias={"2": 100})[2]["choices"][0]["logprobs"][
                              "content"]
    ok([(x["token"], x["bytes"]) for x in content] ==
       [("<|endoftext|>", None)] * 3,
       "a special token that is not shown has a name, but no bytes")
    same_chat(server, "special tokens", ignore_eos=True, max_tokens=9,
              temperature=2, seed=1, logit_bias={"2": 20})


def test_calls(server):
    """Tokens of calls are not content."""
    point = {"type": "object", "properties": {"x": {"type": "integer"}},
             "required": ["x"], "additionalProperties": False}
    tools = [{"type": "function",
              "function": {"name": "move", "parameters": point}}]
    choice = same_chat(server, "a call", tools=tools, seed=1, temperature=1.3,
                       tool_choice="required", max_tokens=100)[0]
    ok(choice["message"]["content"] is None and
       choice["message"]["tool_calls"] and
       choice["logprobs"]["content"] == [], "a call alone has none")
    begin = server.ask("POST", "/tokenize",
                       {"prompt": "<tool_calls>"})[2]["tokens"][-1]
    both = 0
    for seed in range(6):
        choice = same_chat(server, "a text, and a call perhaps", tools=tools,
                           seed=seed, temperature=2, max_tokens=80,
                           logit_bias={str(begin): 9 + 2 * seed})[0]
        text = choice["message"]["content"]
        got = text_of(choice["logprobs"]["content"])
        both += bool(text and choice["message"].get("tool_calls"))
        ok(got.startswith(text or "") and
           len(got) - len(text or "") <= 12, "scores of the text alone: %r" %
           text)
    ok(both, "some had both (%d)" % both)


# ---- limits ----

def test_refusals(server):
    for keys in [{"logprobs": 21}, {"logprobs": -1}, {"logprobs": "x"},
                 {"logprobs": True}, {"logprobs": 20, "max_tokens": 2000},
                 {"logprobs": 9, "max_tokens": 300, "n": 16}]:
        status, _, body = server.complete(**keys)
        ok(status == 400 and body["error"]["param"] == "logprobs",
           "%s: %s" % (keys, body["error"]["message"]))
    for param, keys in [
            ("top_logprobs", {"logprobs": True, "top_logprobs": 21}),
            ("top_logprobs", {"logprobs": True, "top_logprobs": -1}),
            ("top_logprobs", {"logprobs": True, "top_logprobs": "x"}),
            ("top_logprobs", {"top_logprobs": 2}),
            ("logprobs", {"logprobs": 5})]:
        status, _, body = server.chat(**keys)
        ok(status == 400 and body["error"]["param"] == param,
           "%s: %s" % (keys, body["error"]["message"]))
    body = server.chat(logprobs=True, top_logprobs=20, ignore_eos=True)[2]
    ok(body["usage"]["completion_tokens"] == 32768 // 21 and
       body["choices"][0]["finish_reason"] == "length" and
       len(body["choices"][0]["logprobs"]["content"]) == 32768 // 21,
       "an answer without max_tokens is as long as its scores may be")


def test_batch(server, model):
    keys = {"max_tokens": 9, "temperature": 0}
    text = {"prompt": "In the beginning", "logprobs": 3, **keys}
    chat = {"messages": [{"role": "user", "content": "Say: my horse is slow"}],
            "logprobs": True, "top_logprobs": 2, **keys}
    with open("batch.jsonl", "w") as file:
        for body in [text, chat, {**text, "logprobs": 99}]:
            file.write(json.dumps(body) + "\n")
    out = subprocess.run([WEIR, "batch", model, "batch.jsonl", "-q"],
                         stdout=subprocess.PIPE, check=False).stdout
    lines = sorted(map(json.loads, out.splitlines()), key=lambda x: x["id"])
    answers = [x["response"]["body"] for x in lines]
    ok(len(lines) == 3 and [x["response"]["status_code"] for x in lines] ==
       [200, 200, 400] and
       answers[0]["choices"] == server.complete(**text)[2]["choices"] and
       answers[1]["choices"] == server.ask(
           "POST", "/v1/chat/completions", chat)[2]["choices"],
       "weir batch writes the same")


def main(model, other):
    test_numbers(model)
    server = Server(model)
    test_texts(server)
    test_chats(server)
    test_calls(server)
    test_refusals(server)
    test_batch(server, model)
    ok(server.end() == 0, "the server ends")
    test_bytes(other)
    return done()


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
