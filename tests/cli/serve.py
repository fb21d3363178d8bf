# SPDX-License-Identifier: Apache-2.0
"""weir serve MODEL BYTES: what it answers, to whom, and what it survives.

BYTES is a model whose tokens are single bytes."""
import os
import random
import shutil
import signal
import socket
import stat
import subprocess
import sys
import threading
import time

from serve_client import (WEIR, Server, done, events, ok, read_all,
                          texts, unchunk)


def run(model, prompt, n):
    """What weir run says"""
    out = subprocess.run(
        [WEIR, "run", model, "-p", prompt, "-n", str(n), "--temp", "0"],
        stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, check=True).stdout
    return out.decode()


# ---- what is answered ----

def test_paths(server):
    status, _, body = server.ask("GET", "/health")
    ok(status == 200 and body == {"status": "ok"}, "health")
    status, _, body = server.ask("GET", "/v1/models")
    ok(status == 200 and body["data"][0]["id"] == "demo" and
       body["data"][0]["max_model_len"] == 4096, "the model")
    one = server.ask("GET", "/v1/models/demo")
    ok(one[0] == 200 and one[2] == body["data"][0], "by its name")
    ok(server.ask("GET", "/v1/models/d%65mo")[0] == 200, "in disguise")
    ok(server.ask("HEAD", "/health")[0] == 200, "HEAD")
    for path in ["//", "/index.html", "/v1/models/other", "/v1/models/", "/etc/passwd",
                 "/../../../../etc/passwd", "/v1/%2e%2e/%2e%2e/etc/passwd",
                 "//health", "/health/", "/v1/completions/x",
                 "/v1/models/..%2f..%2fetc%2fpasswd"]:
        status, _, body = server.ask("GET", path)
        ok(status == 404 and body["error"]["code"] == "not_found",
           "nothing at " + path)
    status, headers, body = server.ask("GET", "/")
    ok(status == 200 and headers["Content-Type"] == "text/html; charset=utf-8"
       and body.startswith(b"<!doctype html>") and body.endswith(b"</html>\n"),
       "the page")
    ok(server.ask("HEAD", "/?x=y")[::2] == (200, b""), "its head")
    for method, path, allow in [("GET", "/v1/completions", "POST"),
                                ("POST", "/", "GET, HEAD"),
                                ("POST", "/health", "GET, HEAD"),
                                ("DELETE", "/v1/models", "GET, HEAD"),
                                ("PUT", "/tokenize", "POST")]:
        status, headers, body = server.ask(method, path)
        ok(status == 405 and headers["Allow"] == allow and
           body["error"]["code"] == "method_not_allowed",
           "%s %s is not allowed" % (method, path))


def test_tokens(server):
    text = "In the beginning\u00e9 <|eom|>"
    status, _, body = server.ask("POST", "/tokenize", {"prompt": text})
    ok(status == 200 and body["count"] == len(body["tokens"]) and
       body["max_model_len"] == 4096, "tokens of a text")
    bare = server.ask("POST", "/tokenize",
                      {"prompt": text, "add_special_tokens": False})[2]
    ok(body["tokens"][1:] == bare["tokens"], "without the first")
    back = server.ask("POST", "/detokenize", {"tokens": bare["tokens"]})
    ok(back[0] == 200 and back[2] == {"prompt": text}, "and back")
    for path, bad, param in [
            ("/tokenize", {}, "prompt"), ("/tokenize", {"prompt": 1}, "prompt"),
            ("/tokenize", {"prompt": "a", "add_special_tokens": 1},
             "add_special_tokens"),
            ("/tokenize", {"prompt": "a", "x": 1}, "x"), ("/tokenize", [], None),
            ("/detokenize", {"tokens": "a"}, "tokens"),
            ("/detokenize", {"tokens": [1.5]}, "tokens"),
            ("/detokenize", {"tokens": [-1]}, "tokens"),
            ("/detokenize", {"tokens": [9999999]}, None)]:
        status, _, body = server.ask("POST", path, bad)
        ok(status == 400 and body["error"]["param"] == param,
           "%s %s: %s" % (path, bad, body["error"]["message"]))


def test_completions(server, model):
    wanted = run(model, "In the beginning", 40)
    status, headers, body = server.complete(max_tokens=40, temperature=0)
    choice = body["choices"][0]
    ok(status == 200 and choice["text"] == wanted and
       choice["finish_reason"] == "length" and choice["index"] == 0,
       "the answer is that of weir run")
    ok(body["usage"] == {"prompt_tokens": 5, "completion_tokens": 40,
                         "total_tokens": 45,
                         "prompt_tokens_details": {"cached_tokens": 0}} and
       body["object"] == "text_completion" and body["model"] == "demo",
       "with its usage")
    ok(not any("Access-Control" in x for x in headers), "and no CORS")
    status, headers, data = server.complete(max_tokens=40, temperature=0,
                                            stream=True)
    objects, done = events(data)
    ok(status == 200 and done and
       headers["Content-Type"] == "text/event-stream" and
       texts(objects) == ([wanted], ["length"]) and
       all("usage" not in x for x in objects) and len(objects) > 2,
       "a stream has the same text in parts")
    data = server.complete(max_tokens=4, stream=True, return_token_ids=True,
                           temperature=0,
                           stream_options={"include_usage": True})[2]
    objects, done = events(data)
    ok(done and all(x["usage"] is None for x in objects[:-1]) and
       objects[-1]["choices"] == [] and
       objects[-1]["usage"]["completion_tokens"] == 4,
       "its usage comes last")
    ok(sum((x["choices"][0]["token_ids"] for x in objects[:-1]), []) ==
       server.complete(max_tokens=4, return_token_ids=True, temperature=0)[2]
       ["choices"][0]["token_ids"], "with ids as the whole answer")
    ids = server.ask("POST", "/tokenize", {"prompt": "In the beginning"})[2]
    ok(server.complete(ids["tokens"], max_tokens=40, temperature=0)[2]
       ["choices"][0]["text"] == wanted, "ids are a prompt, too")
    body = server.complete(max_tokens=40, temperature=0, stop=[" of"])[2]
    ok(body["choices"][0]["text"] == wanted.partition(" of")[0] and
       body["choices"][0]["finish_reason"] == "stop", "a stop string")
    objects, done = events(server.complete(
        max_tokens=40, temperature=0, stop=[" of"], stream=True)[2])
    ok(done and texts(objects) == ([wanted.partition(" of")[0]], ["stop"]),
       "in a stream")


def test_choices(server):
    keys = {"max_tokens": 30, "temperature": 1, "seed": 7, "n": 3}
    body = server.complete(**keys)[2]
    answers = [x["text"] for x in body["choices"]]
    ok([x["index"] for x in body["choices"]] == [0, 1, 2] and
       len(set(answers)) == 3 and body["usage"]["completion_tokens"] == 90,
       "three choices differ")
    ok(server.complete(max_tokens=30, temperature=1, seed=7)[2]["choices"][0]
       ["text"] == answers[0], "the first is that of one")
    objects, done = events(server.complete(stream=True, **keys)[2])
    ok(done and texts(objects, 3) == (answers, ["length"] * 3),
       "in a stream they are the same")
    del keys["seed"]
    ok(server.complete(**keys)[2]["choices"] !=
       server.complete(**keys)[2]["choices"], "without a seed each is new")


def test_chat(server, model):
    wanted = subprocess.run(
        [WEIR, "run", model, "--chat", "-p", "Say: my horse is slow",
         "--temp", "0"], stdout=subprocess.PIPE, check=True).stdout.decode()
    status, _, body = server.chat(temperature=0)
    choice = body["choices"][0]
    ok(status == 200 and body["object"] == "chat.completion" and
       choice["message"] == {"role": "assistant", "content": wanted} and
       choice["finish_reason"] == "stop" and
       body["id"].startswith("chatcmpl-"), "a chat is that of weir run --chat")
    objects, done = events(server.chat(
        temperature=0, stream=True, stream_options={"include_usage": True},
        n=2)[2])
    deltas = [[x["choices"][0] for x in objects[:-1]
               if x["choices"][0]["index"] == i] for i in (0, 1)]
    ok(done and all(x["object"] == "chat.completion.chunk" for x in objects) and
       all(d[0]["delta"] == {"role": "assistant", "content": ""} and
           d[-1]["delta"] == {} and d[-1]["finish_reason"] == "stop" and
           all(list(x["delta"]) == ["content"] and x["finish_reason"] is None
               for x in d[1:-1]) and
           "".join(x["delta"]["content"] for x in d[1:-1]) == wanted
           for d in deltas), "its stream: the role, parts, the end")
    ok(objects[-1]["choices"] == [] and
       objects[-1]["usage"]["prompt_tokens"] == body["usage"]["prompt_tokens"]
       and objects[-1]["usage"]["completion_tokens"] ==
       2 * body["usage"]["completion_tokens"], "and its usage")
    parts = [{"type": "text", "text": "Say: my"},
             {"type": "text", "text": "horse"}]
    messages = [{"role": "system", "content": "Be kind"},
                {"role": "user", "content": parts}]
    status, _, body = server.ask("POST", "/apply-template",
                                 {"messages": messages})
    ok(status == 200 and "Be kind" in body["prompt"] and
       "Say: my\nhorse" in body["prompt"] and
       body["prompt"].endswith("<|assistant|>"), "messages as the model reads")
    plain = server.chat("x", max_tokens=1)[2]["usage"]["prompt_tokens"]
    marked = server.chat("x<|eom|>", max_tokens=1)[2]["usage"]["prompt_tokens"]
    ok(marked > plain + 2, "what looks like a special token is text")
    for keys, param in [
            ({"messages": []}, "messages"), ({"messages": None}, "messages"),
            ({"messages": [1]}, "messages"), ({"messages": [{}]}, "messages"),
            ({"messages": [{"role": 1}]}, "messages"),
            ({"messages": [{"role": "user", "content": 1}]}, "messages"),
            ({"messages": [{"role": "user", "content": [
                {"type": "image_url"}]}]}, "messages"),
            ({"prompt": "x"}, "prompt"),
            ({"logprobs": 1}, "logprobs"),
            ({"max_tokens": 4096}, "messages"), ({"x": 1}, "x")]:
        status, _, body = server.chat(**keys)
        ok(status == 400 and body["error"]["param"] == param,
           "%s: %s" % (keys, body["error"]["message"]))


def test_characters(model):
    """Random bytes: what comes out is characters all the same."""
    server = Server(model)
    n_replaced = n_wide = 0
    bytes_and_words = [3 + 0xc3, 3 + 0xa9, 3 + 0xe2, 3 + 0x82, 3 + 0xac,
                       *range(300, 304)]
    for seed in range(4):
        keys = {"max_tokens": 150, "temperature": 1.5, "seed": seed,
                "ignore_eos": True,
                "logit_bias": {str(x): 12 for x in bytes_and_words}}
        whole = server.complete("x", **keys)[2]["choices"][0]["text"]
        objects, done = events(server.complete("x", stream=True, **keys)[2])
        if not done or texts(objects)[0] != [whole]:
            ok(False, "a stream of bytes, seed %d" % seed)
        n_replaced += whole.count("\ufffd")
        n_wide += sum(ord(x) > 127 and x != "\ufffd" for x in whole)
    ok(n_wide > 3 and n_replaced > 20,
       "no part ends within a character (%d; %d are none)" %
       (n_wide, n_replaced))
    status, _, body = server.chat()
    ok(status == 400 and "without a chat template" in body["error"]["message"],
       "no chat without a template")
    ok(server.end() == 0, "and the server ends")


def test_refusals(server):
    for keys, param, code in [
            ({"prompt": None}, "prompt", "missing_parameter"),
            ({"prompt": ""}, None, None),
            ({"prompt": []}, "prompt", "invalid_value"),
            ({"prompt": [99999]}, "prompt", "invalid_value"),
            ({"max_tokens": 0}, "max_tokens", "invalid_value"),
            ({"max_tokens": 5000}, "prompt", "context_length_exceeded"),
            ({"stream": 1}, "stream", "invalid_value"),
            ({"stream_options": {"x": True}}, "stream_options",
             "unknown_parameter"),
            ({"n": 17}, "n", "invalid_value"),
            ({"best_of": 2}, "best_of", "unsupported_value"),
            ({"echo": True}, "echo", "unsupported_value"),
            ({"logprobs": 21}, "logprobs", "invalid_value"),
            ({"suffix": "x"}, "suffix", "unsupported_value"),
            ({"messages": []}, "messages", "unsupported_value"),
            ({"tools": []}, "tools", "unknown_parameter"),
            ({"temperature": -1}, "temperature", "invalid_value"),
            ({"logit_bias": {"9999999": 1}}, "logit_bias", "invalid_value"),
            ({"model": 5}, "model", "invalid_value"),
            ({"stop": 5}, "stop", "invalid_value")]:
        status, _, body = server.complete(**keys)
        if param is None:
            ok(status == 200, "an empty text still has its first token")
            continue
        error = body.get("error", {})
        ok(status == 400 and error["param"] == param and
           error["code"] == code and error["type"] == "invalid_request_error",
           "%s: %s" % (keys, error.get("message")))
    status, _, body = server.complete("a " * 5000, max_tokens=7)
    message = body["error"]["message"]
    ok(status == 400 and "answer of up to 7 are longer than the context of "
       "4096" in message and int(message.split()[3]) > 4096,
       "a long prompt is refused with the numbers: " + message)
    status, _, body = server.complete("a " * 5000)
    ok(status == 400 and "leaves no room for an answer" in
       body["error"]["message"], "even without: " + body["error"]["message"])
    ok(server.complete("a" * 300000)[0] == 400, "as long as a body may be")
    status, _, body = server.complete(model="other")
    ok(status == 404 and body["error"]["code"] == "model_not_found" and
       body["error"]["param"] == "model",
       "another model: " + body["error"]["message"])
    ok(server.complete(model="demo", max_tokens=1)[0] == 200, "this one")
    for bad in [b"", b"{", b"[1", b"{\"prompt\":\"\xff\"}", b"[" * 100000,
                b"{\"prompt\":\"a\",\"prompt\":\"b\"}", b"nul", b"[]", b"7"]:
        status, _, body = server.ask("POST", "/v1/completions", bad)
        ok(status == 400 and body["error"]["message"],
           "%s: %s" % (bad[:20], body["error"]["message"]))


# ---- who may ask ----

def test_keys(model, folder):
    path = os.path.join(folder, "keys")
    with open(path, "w", encoding="ascii") as file:
        file.write("# keys\n\nsecond-key\r\nthird-key\n")
    server = Server(model, "--api-key", "first-key", "--api-key-file", path)
    for path in ["/health", "/"]:
        ok(server.ask("GET", path)[0] == 200, path + " wants no key")
    for key in [None, "", "Bearer", "Bearer ", "Bearer first-ke", "first-key",
                "Bearer first-key ", "Bearer first-keyy", "Basic first-key",
                "Bearer # keys", "Bearer " + "x" * 300]:
        status, headers, body = server.ask(
            "GET", "/v1/models", headers={"Authorization": key} if key else {})
        ok((status == 401 and headers["WWW-Authenticate"] == "Bearer" and
            body["error"]["code"] == "invalid_api_key") or
           (status == 200 and key == "Bearer first-key "),
           "no key: %s" % (key or "")[:40])
    for path in ["/metrics", "/v1/models/demo", "/nothing"]:
        ok(server.ask("GET", path)[0] == 401, path + " wants one")
    ok(server.complete()[0] == 401, "so does a completion")
    for key in ["first-key", "second-key", "third-key"]:
        ok(server.ask("GET", "/v1/models",
                      headers={"Authorization": "Bearer " + key})[0] == 200,
           key + " is one")
    ok(server.end() == 0, "and the server ends")


def test_own_origin(server):
    """Of the page at /, by a name that nobody else has"""
    for host, origin, status in [
            ("127.0.0.1:80", "http://127.0.0.1:80", 200),
            ("localhost:8080", "http://localhost:8080", 200),
            ("LOCALHOST", "https://localhost", 200),
            ("192.168.1.2", "http://192.168.1.2", 200),
            ("[::1]:8080", "http://[::1]:8080", 200),
            ("127.0.0.1:80", "http://127.0.0.1:81", 403),
            ("127.0.0.1", "http://127.0.0.1.example.org", 403),
            ("127.0.0.1", "ftp://127.0.0.1", 403),
            ("127.0.0.1", "127.0.0.1", 403),
            ("127.0.0.1", "null", 403), ("", "http://", 403),
            ("[::1", "http://[::1]", 403), ("::1", "http://::1", 403),
            ("x" * 300, "http://" + "x" * 300, 403),
            ("example.org", "http://example.org", 403),
            ("localhost.example.org", "http://localhost.example.org", 403)]:
        got = server.ask("POST", "/tokenize", {"prompt": "a"},
                         {"Host": host, "Origin": origin})
        ok(got[0] == status and not any("Access-Control" in x for x in got[1]),
           "%s asks %s: %d" % (origin[:40], host[:40], got[0]))


def test_origins(server, model):
    page = {"Origin": "http://example.org"}
    status, _, body = server.ask("POST", "/v1/completions", {"prompt": "a"},
                                 page)
    ok(status == 403 and body["error"]["code"] == "origin_not_allowed",
       "a page of another origin is refused")
    ok(server.ask("OPTIONS", "/v1/completions", headers=page)[0] == 403,
       "also when its browser asks first")
    test_own_origin(server)
    allowing = Server(model, "--cors", "http://example.org", "--api-key", "k")
    status, headers, _ = allowing.ask("OPTIONS", "/v1/completions", headers={
        **page, "Access-Control-Request-Headers": "authorization, x-y"})
    ok(status == 204 and headers["Access-Control-Allow-Origin"] ==
       page["Origin"] and "POST" in headers["Access-Control-Allow-Methods"] and
       headers["Access-Control-Allow-Headers"] == "authorization, x-y",
       "--cors lets it")
    status, headers, _ = allowing.ask(
        "GET", "/v1/models", headers={**page, "Authorization": "Bearer k"})
    ok(status == 200 and
       headers["Access-Control-Allow-Origin"] == page["Origin"],
       "and it gets its answer")
    ok(allowing.ask("GET", "/v1/models", headers={
        "Origin": "http://example.org.evil"})[0] == 403, "others do not")
    ok(allowing.end() == 0, "and the server ends")


# ---- what it survives ----

def test_sizes(server):
    body = b"{\"prompt\":\"" + b"a" * 500000 + b"\"}"
    try:
        status = server.ask("POST", "/v1/completions", body)[0]
    except (ConnectionResetError, BrokenPipeError):
        status = 413
    ok(status == 413, "too large a body")
    s = server.connect()
    s.sendall(b"POST /v1/completions HTTP/1.1\r\nHost: x\r\n"
              b"Content-Length: 99999999999\r\n\r\n")
    ok(server.ask("GET", "/health")[0] == 200, "one that is announced")
    s.close()
    for junk in [b"GET / HTTP/1.1\r\nX: " + b"a" * 100000 + b"\r\n\r\n",
                 b"GET /" + b"a" * 100000 + b" HTTP/1.1\r\n\r\n",
                 b"\r\n" * 50000, b"\x00\xff" * 1000 + b"\r\n\r\n",
                 b"GET / HTTP/9.9\r\n\r\n", b"FETCH / HTTP/1.1\r\n\r\n",
                 b"POST /v1/completions HTTP/1.1\r\nContent-Length: -5\r\n\r\n",
                 b"POST /v1/completions HTTP/1.1\r\n"
                 b"Transfer-Encoding: chunked\r\n\r\nzzz\r\n",
                 b"POST /v1/completions HTTP/1.1\r\n"
                 b"Transfer-Encoding: chunked\r\n\r\nfffffffffffffff\r\n"]:
        s = server.connect(2)
        first = b""
        try:
            s.sendall(junk)
            s.shutdown(socket.SHUT_WR)
            first = read_all(s).split(b"\r\n")[0]
        except OSError:
            pass
        s.close()
        ok(b" 200 " not in first and server.ask("GET", "/health")[0] == 200,
           "%s...: %s" % (junk[:30], first.decode()))


def test_pipeline(server):
    """Requests behind one that takes long are kept, and then answered."""
    s = server.begin(max_tokens=300, ignore_eos=True, temperature=0)
    for _ in range(3):
        s.sendall(b"GET /health HTTP/1.1\r\nHost: x\r\n\r\n")
        time.sleep(0.02)
    s.sendall(b"GET /health HTTP/1.1\r\nConnection: close\r\n\r\n")
    data = read_all(s)
    ok(data.count(b"HTTP/1.1 200 OK") == 5 and
       data.count(b"{\"status\":\"ok\"}") == 4, "requests in one go")
    s = server.begin(max_tokens=1000, ignore_eos=True, stream=True)
    try:
        s.settimeout(1)
        for _ in range(400):
            s.sendall(b"x" * 65536)
    except OSError:
        pass
    s.close()
    ok(server.wait_for(calls=0, texts_running=0),
       "one who talks all the time is not listened to")


def test_hangups(server):
    before = server.metrics()
    long = {"max_tokens": 4000, "ignore_eos": True}
    for keys in [long, {**long, "stream": True}]:
        sockets = [server.begin(**keys) for _ in range(20)]
        begun = server.wait_for(texts_running=20)
        for s in sockets:
            s.close()
        start = time.monotonic()
        ok(begun and server.wait_for(texts_running=0, calls=0, texts_waiting=0)
           and time.monotonic() - start < 5,
           "20 clients that hang up free their places")
    after = server.metrics()
    ok(after["weir_texts_cancelled_total"] -
       before["weir_texts_cancelled_total"] == 40 and
       after["weir_hangups_total"] - before["weir_hangups_total"] == 40,
       "which is counted")
    s = server.begin(n=5, **long)
    begun = server.wait_for(texts_running=5)
    s.close()
    ok(begun and server.wait_for(texts_running=0, calls=0),
       "all choices of a request go with it")


def test_queue(model):
    server = Server(model, "--parallel", "1", "--queue", "2", "--ctx", "60000")
    long = {"max_tokens": 50000, "ignore_eos": True}
    first = server.begin(**long)
    begun = server.wait_for(texts_running=1)
    waiting = [server.begin(stream=True, **long), server.begin(**long)]
    ok(begun and server.wait_for(texts_waiting=2), "two wait behind one")
    status, headers, body = server.complete(max_tokens=1)
    ok(status == 429 and body["error"]["code"] == "queue_full" and
       int(headers["Retry-After"]) > 0, "the next is refused: " +
       body["error"]["message"])
    ok(server.complete(max_tokens=1, n=2)[0] == 429, "choices count each")
    data = b""
    while b": " not in unchunk(data)[1]:
        piece = waiting[0].recv(65536)
        if not piece:
            break
        data += piece
    ok(unchunk(data)[1].startswith(b": "),
       "one that waits has a sign of life now and then")
    waiting[1].close()
    ok(server.wait_for(texts_waiting=1), "one that hangs up waits no more")
    first.close()
    ok(server.wait_for(texts_waiting=0, texts_running=1),
       "the next takes the place of one that hung up")
    waiting[0].close()
    ok(server.wait_for(texts_running=0) and
       server.complete(max_tokens=1)[0] == 200, "and all are free")
    ok(server.end() == 0, "and the server ends")


def test_slow_reader(model):
    server = Server(model, "--name", "n" * 255, "--parallel", "20")
    s = socket.socket()
    s.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    s.connect(("127.0.0.1", server.port))
    body = (b"{\"prompt\":\"a\",\"n\":16,\"max_tokens\":4000,\"stream\":true,"
            b"\"ignore_eos\":true,\"return_token_ids\":true}")
    s.sendall(b"POST /v1/completions HTTP/1.1\r\nContent-Length: %d\r\n\r\n%s"
              % (len(body), body))
    begun = server.wait_for(texts_running=16)
    other = server.complete(max_tokens=20)
    ok(begun and other[0] == 200, "one who does not read stops nobody")
    ok(server.wait_for(120, cut_streams_total=1, texts_running=0, calls=0),
       "and is cut off")
    ok(server.metrics()["weir_tokens_total"] < 64000, "before the end")
    s.close()
    ok(server.end() == 0, "and the server ends")


def test_timeout(model):
    server = Server(model, "--timeout", "1", "--ctx", "60000")
    long = {"max_tokens": 50000, "ignore_eos": True}
    status, _, body = server.complete(**long)
    ok(status == 504 and body["error"]["code"] == "timeout" and
       body["error"]["type"] == "server_error", "an answer that takes too long")
    objects, done = events(server.complete(stream=True, **long)[2])
    ok(done and objects[-1]["error"]["code"] == "timeout" and
       all("choices" in x for x in objects[:-1]) and len(objects) > 10,
       "a stream that does ends with an error")
    ok(server.wait_for(texts_running=0, calls=0, timeouts_total=2),
       "neither keeps its place")
    ok(server.end() == 0, "and the server ends")


def test_drain(model):
    server = Server(model, "--parallel", "1", "--ctx", "8192")
    long = {"max_tokens": 500, "ignore_eos": True, "stream": True}
    sockets = [server.begin(**long), server.begin(**long)]
    begun = server.wait_for(texts_running=1, texts_waiting=1)
    server.process.send_signal(signal.SIGTERM)
    time.sleep(0.1)
    status, headers, body = server.complete()
    ok(begun and status == 503 and body["error"]["code"] == "draining" and
       headers["Connection"] == "close", "a new text is refused while it drains")
    ok(server.ask("GET", "/health")[0] == 503, "which health shows")
    ends = []
    for s in sockets:
        data = b""
        while not data.endswith(b"0\r\n\r\n"):
            piece = s.recv(65536)
            if not piece:
                break
            data += piece
        objects, done = events(unchunk(data)[1])
        ends.append(done and texts(objects)[1] == ["length"])
    ok(ends == [True, True], "those that run and wait come to their end")
    ok(server.process.wait(30) == 0, "and then the server does")
    server.end()
    server = Server(model, "--ctx", "60000")
    s = server.begin(max_tokens=50000, ignore_eos=True)
    begun = server.wait_for(texts_running=1)
    server.process.send_signal(signal.SIGINT)
    time.sleep(0.2)
    start = time.monotonic()
    ok(begun and server.process.poll() is None and
       server.end(signal.SIGINT) == -signal.SIGINT and
       time.monotonic() - start < 2, "a second signal ends it at once")
    s.close()


def test_damage(model, folder):
    """A tile that is damaged fails the texts that want it, not the server."""
    path = os.path.join(folder, "damaged.weir")
    shutil.copy(model, path)
    with open(path, "r+b") as file:
        file.seek(-5000, os.SEEK_END)
        piece = bytes(x ^ 255 for x in file.read(4096))
        file.seek(-5000, os.SEEK_END)
        file.write(piece)
    server = Server(path)
    for stream in [False, True, False]:
        status, _, body = server.complete(max_tokens=200, stream=stream,
                                          ignore_eos=True)
        error = events(body)[0][-1] if stream else body
        ok(status == (200 if stream else 500) and
           error["error"]["type"] == "server_error" and
           "is damaged" in error["error"]["message"],
           "damage is said: %s" % error["error"]["message"])
    ok(server.wait_for(texts_failed_total=3, texts_running=0, calls=0) and
       server.ask("GET", "/health")[0] == 200, "and the server goes on")
    ok(server.end() == 0, "to its end")


def test_used(model):
    """
    What passes use of the weights is the same wherever it lies; a device counts
    the experts that a prompt chooses on average, which is where it may differ.
    """
    used = []
    for options in [], ["--io", "pread"], ["--device", "host"]:
        server = Server(model, *options)
        server.complete(max_tokens=20, temperature=0)
        all_told = server.wait_for(steps_total=20)
        values = server.metrics()
        used.append([values['weir_weights_used_bytes_total{place="%s"}' % x]
                     for x in ("memory", "device")])
        ok(all_told and server.end() == 0, "a text with %s" % options)
    print("#", used)
    ok(used[0][0] > 20 * 2**20 and used[0][1] == 0, "of memory, mapped")
    ok(used[1] == used[0], "or read")
    ok(used[2][0] == 0 and abs(used[2][1] - used[0][0]) < 0.01 * used[0][0],
       "or of a device")


def be_a_client(server, seed, n, ends):
    rng = random.Random(seed)
    for _ in range(n):
        keys = {"max_tokens": rng.randint(1, 30), "temperature": 1,
                "stream": rng.random() < 0.5, "n": rng.choice([1, 1, 1, 2])}
        try:
            s = server.begin("word " * rng.randint(1, 60), **keys)
            if rng.random() < 0.4:
                if rng.random() < 0.5:
                    s.recv(rng.randint(1, 500))
                s.close()
                ends.append("hung up")
                continue
            data = b""
            while not data.endswith((b"0\r\n\r\n", b"}")):
                piece = s.recv(65536)
                if not piece:
                    break
                data += piece
            s.close()
            ends.append(data[9:12].decode())
        except OSError as e:
            ends.append(repr(e))


def burst(server, n_clients, n_each, seed):
    ends = []
    threads = [threading.Thread(target=be_a_client,
                                args=(server, seed + i, n_each, ends))
               for i in range(n_clients)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    return {x: ends.count(x) for x in sorted(set(ends))}


def test_burst(model):
    """1000 requests, 40 % of whose clients hang up somewhere"""
    server = Server(model, "--parallel", "8", "--queue", "10", "--ctx", "512")
    print("#", burst(server, 25, 10, 1))
    server.wait_for(calls=0, texts_running=0, texts_waiting=0)
    before = server.metrics()
    ends = burst(server, 25, 40, 1000)
    print("#", ends)
    ok(set(ends) <= {"200", "429", "hung up"} and ends["200"] > 100 and
       ends["hung up"] > 200, "1000 requests in bursts")
    ok(server.wait_for(calls=0, texts_running=0, texts_waiting=0),
       "leave no place taken")
    after = server.metrics()
    ok(after["process_open_fds"] == before["process_open_fds"],
       "nor a descriptor: %d" % after["process_open_fds"])
    grown = (after["process_resident_memory_bytes"] -
             before["process_resident_memory_bytes"]) / 2**20
    grown -= (after["weir_cache_bytes"] - before["weir_cache_bytes"]) / 2**20
    ok(grown < 8, "nor memory: %.1f MiB" % grown)
    taken = [after["weir_texts_%s_total" % x]
             for x in ("ended", "cancelled", "failed")]
    ok(taken[2] == 0 and sum(taken) > 500, "each text ended somehow: %s" %
       taken)
    ok(server.end() == 0, "and the server ends")


def test_connections(model):
    """More than may be connected: the others wait, and nothing breaks."""
    server = Server(model)
    sockets = [server.connect() for _ in range(600)]
    time.sleep(0.3)
    for s in sockets[:300]:
        s.close()
    ok(server.ask("GET", "/health")[0] == 200, "600 connections")
    for s in sockets:
        s.close()
    ok(server.end() == 0, "and the server ends")


# ---- prompts that are kept ----

def cached(body):
    return body["usage"]["prompt_tokens_details"]["cached_tokens"]


def test_cache(model):
    server, bare = Server(model), Server(model, "--cache-ram", "0")
    messages = [{"role": "user", "content": "In the beginning " * 300}]
    asked = {"messages": messages, "max_tokens": 30, "seed": 5}

    def chat(of=server):
        status, _, body = of.ask("POST", "/v1/chat/completions", asked)
        return body["choices"][0]["message"]["content"], body

    first, body = chat()
    n_prompt = body["usage"]["prompt_tokens"]
    ok(cached(body) == 0 and n_prompt > 900, "a prompt that is new")
    read = server.metrics()["weir_prompt_tokens_total"]
    again, body = chat()
    now = server.metrics()
    ok(cached(body) == n_prompt and again == first,
       "the same again: all of it was kept")
    ok(read == n_prompt and now["weir_prompt_tokens_total"] == read,
       "and none of it is read")
    ok(chat(bare)[0] == first and cached(chat(bare)[1]) == 0,
       "without a cache the answer is the same")
    messages += [{"role": "assistant", "content": first},
                 {"role": "user", "content": "And then?"}]
    second, body = chat()
    ok(cached(body) > n_prompt - 9 and chat(bare)[0] == second,
       "the next turn: %d of %d tokens were kept" %
       (cached(body), body["usage"]["prompt_tokens"]))
    messages[-1]["content"] = "Who says so?"
    edited, body = chat()
    ok(cached(body) > n_prompt - 9 and chat(bare)[0] == edited,
       "its message, edited")
    branches = [None] * 6

    def branch(i):
        branches[i] = server.ask("POST", "/v1/chat/completions", {
            **asked, "messages": messages[:-1] + [
                {"role": "user", "content": "Branch %d" % i}]})[2]

    threads = [threading.Thread(target=branch, args=(i,)) for i in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    same = True
    for i, body in enumerate(branches):
        messages[-1]["content"] = "Branch %d" % i
        same &= (cached(body) > n_prompt - 9 and
                 chat(bare)[0] == body["choices"][0]["message"]["content"])
    ok(same, "branches at a time")
    now = server.metrics()
    ok(now["weir_cache_hits_total"] >= 9 and
       now["weir_cache_tokens_total"] > 9 * (n_prompt - 9) and
       0 < now["weir_cache_bytes"] <= now["weir_cache_bytes_limit"],
       "metrics")
    ok(bare.metrics()["weir_cache_bytes_limit"] == 0, "and none without")
    ok(server.end() == 0 and bare.end() == 0, "both end")
    small = Server(model, "--cache-ram", "4M")
    good, most = True, 0
    for i in range(12):
        small.complete("%d %s" % (i, "the king said " * 200), max_tokens=2)
        now = small.metrics()
        good &= now["weir_cache_bytes"] <= 4 << 20
        most = max(most, now["weir_cache_bytes"])
    ok(good and most and now["weir_cache_evictions_total"] > 0,
       "a ceiling: %d bytes at most" % most)
    ok(small.end() == 0, "the server ends")


def test_cache_dir(model, folder):
    kept = os.path.join(folder, "kept")
    options = ["--cache-ram", "64M", "--cache-dir", kept]
    asked = {"messages": [{"role": "user",
                           "content": "In the beginning " * 100}],
             "max_tokens": 10, "seed": 5}

    def chat(server):
        body = server.ask("POST", "/v1/chat/completions", asked)[2]
        return body["choices"][0]["message"]["content"], cached(body)

    server = Server(model, *options)
    first, n_cached = chat(server)
    again = Server(model, *options)
    ok(again.end() == 2 and kept in again.messages[-1],
       "a folder is of one server: " + again.messages[-1].strip())
    ok(n_cached == 0 and server.end() == 0 and
       stat.S_IMODE(os.stat(kept).st_mode) == 0o700 and
       all(stat.S_IMODE(os.stat(os.path.join(kept, name)).st_mode) == 0o600
           for name in os.listdir(kept)), "a folder for its owner")
    server = Server(model, *options)
    again, n_cached = chat(server)
    now = server.metrics()
    ok(again == first and n_cached > 300, "the next server has the prompt")
    ok(now["weir_cache_disk_loads_total"] == 1 and
       now["weir_cache_disk_texts"] == 1 and
       0 < now["weir_cache_disk_bytes"] <= now["weir_cache_disk_bytes_limit"] and
       now["weir_prompt_tokens_total"] == 0, "metrics")
    ok(server.end() == 0, "the server ends")


def test_start(model, folder):
    taken = Server(model)
    again = Server(model, "--port", str(taken.port))
    ok(again.end() == 1 and "cannot listen on 127.0.0.1, port %d" % taken.port
       in again.messages[-1], "a port that is taken")
    taken.end()
    for options, status, text in [
            (["--host", "no.such.name.invalid"], 1, "cannot listen on"),
            (["--port", "65536"], 2, "--port"), (["--api-key", ""], 2, "API key"),
            (["--api-key-file", "/nowhere"], 1, "/nowhere"),
            (["--api-key-file", "/dev/null"], 2, "there is no key in it"),
            (["--name", ""], 2, "--name"), (["--ram", "4M"], 3, "4.0 MiB"),
            (["--cache-ram", "1X"], 2, "--cache-ram"),
            (["--cache-dir", "/dev/null"], 2, "/dev/null: is no folder"),
            (["--cache-dir", "/nowhere/here"], 1, "/nowhere/here"),
            (["--cache-dir", folder, "--cache-disk", "1X"], 2, "--cache-disk"),
            (["--cache-dir", folder, "--cache-ram", "0"], 2, "more than 0"),
            (["--cache-disk", "1G"], 2, "--cache-dir"),
            (["--cache-ram", "1M", "--device", "host"], 3, "--cache-ram")]:
        server = Server(model, *options)
        ok(server.end() == status and text in server.messages[-1],
           "%s: %s" % (options, server.messages[-1].strip()))
    path = os.path.join(folder, "notify")
    manager = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    manager.bind(path)
    manager.settimeout(20)
    server = Server(model, "--host", "0.0.0.0", env={"NOTIFY_SOCKET": path})
    ok(manager.recv(100) == b"READY=1", "the manager of services is told")
    ok(any("--api-key-file" in x for x in server.messages),
       "who listens to all without a key is warned")
    ok(server.end() == 0, "and the server ends")


def main(model, other):
    folder = os.getcwd()
    server = Server(model)
    test_paths(server)
    test_tokens(server)
    test_completions(server, model)
    test_choices(server)
    test_chat(server, model)
    test_refusals(server)
    test_origins(server, model)
    test_sizes(server)
    test_pipeline(server)
    test_hangups(server)
    ok(server.end() == 0, "the server ends")
    test_characters(other)
    test_keys(model, folder)
    test_queue(model)
    test_slow_reader(model)
    test_timeout(model)
    test_drain(model)
    test_damage(model, folder)
    test_used(model)
    test_burst(model)
    test_connections(model)
    test_cache(model)
    test_cache_dir(model, folder)
    test_start(model, folder)
    return done()


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
