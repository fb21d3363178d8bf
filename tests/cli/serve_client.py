# SPDX-License-Identifier: Apache-2.0
"""A server that a test starts, and clients of it that are rude if they must."""
import atexit
import http.client
import json
import os
import re
import signal
import socket
import subprocess
import time

WEIR = os.environ["WEIR"]


class Server:
    """weir serve MODEL on a port that is free"""

    def __init__(self, model, *options, env=None):
        self.process = subprocess.Popen(
            [WEIR, "serve", model, "--port", "0", *options],
            stderr=subprocess.PIPE, env={**os.environ, **(env or {})})
        atexit.register(self.process.kill)
        self.messages = []
        self.seconds = 120  # for a reply
        self.port = None
        for line in self.process.stderr:
            self.messages.append(line.decode())
            found = re.search(r"listening on http://\S*:(\d+)", line.decode())
            if found:
                self.port = int(found.group(1))
                break

    def connect(self, timeout=60):
        return socket.create_connection(("127.0.0.1", self.port), timeout)

    def ask(self, method, path, body=None, headers=None):
        """(status, headers, body) of a reply; a body is bytes or JSON."""
        client = http.client.HTTPConnection("127.0.0.1", self.port,
                                            timeout=self.seconds)
        if body is not None and not isinstance(body, bytes):
            body = json.dumps(body).encode()
        try:
            client.request(method, path, body, headers or {})
            reply = client.getresponse()
            data = reply.read()
        finally:
            client.close()
        kind = reply.getheader("Content-Type", "")
        if data and kind.startswith("application/json"):
            data = json.loads(data)
        return reply.status, dict(reply.getheaders()), data

    def complete(self, prompt="In the beginning", **keys):
        return self.ask("POST", "/v1/completions", {"prompt": prompt, **keys})

    def chat(self, content="Say: my horse is slow", **keys):
        messages = [{"role": "user", "content": content}]
        return self.ask("POST", "/v1/chat/completions",
                        {"messages": messages, **keys})

    def begin(self, prompt="In the beginning", **keys):
        """A socket on which the reply to such a request will come"""
        body = json.dumps({"prompt": prompt, **keys}).encode()
        s = self.connect()
        s.sendall(b"POST /v1/completions HTTP/1.1\r\nHost: x\r\n"
                  b"Content-Length: %d\r\n\r\n%s" % (len(body), body))
        return s

    def metrics(self):
        values = {}
        for line in self.ask("GET", "/metrics")[2].decode().splitlines():
            if line and line[0] != "#":
                name, value = line.rsplit(" ", 1)
                values[name] = float(value)
        return values

    def wait_for(self, seconds=30, **wanted):
        """1 when metrics weir_NAME are so, in the end"""
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            values = self.metrics()
            if all(values["weir_" + k] == v for k, v in wanted.items()):
                return True
            time.sleep(0.02)
        print("#", {k: values["weir_" + k] for k in wanted}, "not", wanted)
        return False

    def end(self, number=signal.SIGTERM):
        """Its exit status after a signal, or None when it goes on"""
        if self.process.poll() is None:
            self.process.send_signal(number)
        try:
            status = self.process.wait(60)
        except subprocess.TimeoutExpired:
            self.process.kill()
            status = None
        self.messages += [x.decode() for x in self.process.stderr]
        self.process.stderr.close()
        return status


def events(data):
    """The objects of a stream, and whether it came to its end"""
    assert data.endswith(b"\n\n")
    lines = [x for x in data.split(b"\n\n")[:-1] if not x.startswith(b":")]
    assert all(x.startswith(b"data: ") for x in lines), lines
    done = lines[-1] == b"data: [DONE]"
    return [json.loads(x[6:].decode("utf-8", "strict"))
            for x in lines[:len(lines) - done]], done


def unchunk(data):
    """The body of a chunked reply, as far as it came"""
    head, _, rest = data.partition(b"\r\n\r\n")
    body = b""
    while rest:
        size, _, rest = rest.partition(b"\r\n")
        n = int(size, 16)
        body += rest[:n]
        rest = rest[n + 2:]
    return head, body


def read_all(s):
    data = b""
    while True:
        try:
            piece = s.recv(65536)
        except ConnectionResetError:
            return data
        if not piece:
            return data
        data += piece


def texts(objects, n=1):
    """Of a stream: the text of each choice, and how each ended"""
    text, reason = [""] * n, [None] * n
    for event in objects:
        for choice in event.get("choices", []):
            i = choice["index"]
            assert reason[i] is None, "a part behind the end"
            text[i] += choice["text"]
            reason[i] = choice["finish_reason"]
    return text, reason


# ---- results, as TAP ----

n_ok = n_all = 0


def ok(good, text):
    global n_ok, n_all
    n_all += 1
    n_ok += bool(good)
    print("%s %d - %s" % ("ok" if good else "not ok", n_all, text), flush=True)


def done():
    """The plan; the exit status"""
    print("1..%d" % n_all)
    return n_ok != n_all
