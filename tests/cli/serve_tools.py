# SPDX-License-Identifier: Apache-2.0
"""weir serve MODEL ROW: answers with a form.

In both models the same weights; ROW's template has calls in a row of tags, that
of MODEL in a list."""
import json
import sys

from serve_client import Server, done, events, ok

PERSON = {
    "type": "object",
    "properties": {
        "name": {"type": "string", "maxLength": 12},
        "age": {"type": "integer"},
        "tags": {"type": "array", "items": {"enum": ["a", "b\u00e9", 3]},
                 "minItems": 1, "maxItems": 3},
        "more": {"anyOf": [{"type": "null"}, {"type": "boolean"}]}},
    "required": ["name", "tags", "more"],
    "additionalProperties": False}


def is_person(value):
    return (isinstance(value, dict) and
            set(value) - {"age"} == {"name", "tags", "more"} and
            isinstance(value["name"], str) and len(value["name"]) <= 12 and
            isinstance(value.get("age", 0), int) and
            1 <= len(value["tags"]) <= 3 and
            all(x in ["a", "b\u00e9", 3] for x in value["tags"]) and
            value["more"] in [None, True, False])


def schema_format(schema):
    return {"type": "json_schema", "json_schema": {"name": "x",
                                                   "schema": schema}}


def tool(name, parameters=None, **keys):
    function = {"name": name, "description": "It does " + name, **keys}
    if parameters:
        function["parameters"] = parameters
    return {"type": "function", "function": function}


POINT = {"type": "object",
         "properties": {"x": {"type": "integer"},
                        "s": {"type": "string", "maxLength": 9}},
         "required": ["x"], "additionalProperties": False}
TOOLS = [tool("move", POINT), tool("halt")]


def is_call(call):
    arguments = json.loads(call["function"]["arguments"])
    name = call["function"]["name"]
    if call["type"] != "function" or not call["id"].startswith("call_"):
        return False
    if name == "halt":
        return arguments == {}
    return (name == "move" and isinstance(arguments["x"], int) and
            set(arguments) <= {"x", "s"})


def put_together(objects, n=1):
    """The messages of a stream and how they ended"""
    messages = [{"content": None, "calls": []} for _ in range(n)]
    reasons = [None] * n
    for event in objects:
        for choice in event["choices"]:
            message, delta = messages[choice["index"]], choice["delta"]
            assert reasons[choice["index"]] is None
            reasons[choice["index"]] = choice["finish_reason"]
            if delta.get("content"):
                message["content"] = (message["content"] or "") + \
                    delta["content"]
            for part in delta.get("tool_calls", []):
                if part["index"] == len(message["calls"]):
                    assert part["function"]["arguments"] == ""
                    message["calls"].append(
                        {"id": part["id"], "type": part["type"],
                         "function": dict(part["function"])})
                else:
                    assert part["index"] == len(message["calls"]) - 1
                    message["calls"][-1]["function"]["arguments"] += \
                        part["function"]["arguments"]
    return messages, reasons


def test_schemas(server):
    for seed in range(3):
        keys = {"response_format": schema_format(PERSON), "seed": seed,
                "temperature": 1.5, "max_tokens": 400}
        choice = server.chat(**keys)[2]["choices"][0]
        text = choice["message"]["content"]
        ok(choice["finish_reason"] == "stop" and is_person(json.loads(text)),
           "JSON of the schema: %r" % text)
        objects, done = events(server.chat(stream=True, **keys)[2])
        messages, reasons = put_together(objects)
        ok(done and messages[0]["content"] == text and reasons == ["stop"],
           "the same as a stream")
    body = server.chat(response_format=schema_format(PERSON), n=3,
                       temperature=1, max_tokens=400)[2]
    ok(all(is_person(json.loads(x["message"]["content"]))
           for x in body["choices"]), "in each of three choices")
    choice = server.chat(response_format=schema_format(PERSON), max_tokens=3,
                         temperature=0)[2]["choices"][0]
    ok(choice["finish_reason"] == "length", "an answer may be cut")
    choice = server.chat(response_format=schema_format({"const": 7}),
                         max_tokens=9, ignore_eos=True,
                         logit_bias={"2": 100})[2]["choices"][0]
    ok(json.loads(choice["message"]["content"]) == 7 and
       choice["finish_reason"] == "stop",
       "no bias changes what is allowed, and nothing follows the end")
    for seed in range(3):
        choice = server.chat(response_format={"type": "json_object"},
                             temperature=1.2, seed=seed, max_tokens=150)[2][
                                 "choices"][0]
        text = choice["message"]["content"]
        ok(choice["finish_reason"] == "length" or
           isinstance(json.loads(text), dict), "an object: %.60r" % text)
        ok(text.lstrip().startswith("{"), "that is one from the beginning")


def test_calls(server, seeds=2):
    for choice_of, names in [("required", {"move", "halt"}),
                             ({"type": "function",
                               "function": {"name": "move"}}, {"move"})]:
        for seed in range(seeds):
            keys = {"tools": TOOLS, "tool_choice": choice_of, "seed": seed,
                    "temperature": 1.3, "max_tokens": 200}
            choice = server.chat(**keys)[2]["choices"][0]
            message = choice["message"]
            calls = message.get("tool_calls", [])
            whole = choice["finish_reason"] == "tool_calls"
            ok(message["content"] is None and calls and
               all(x["function"]["name"] in names for x in calls) and
               all(map(is_call, calls if whole else calls[:-1])) and
               len({x["id"] for x in calls}) == len(calls),
               "%d calls: %.80s" % (len(calls), calls[0]["function"]))
            ok(whole or choice["finish_reason"] == "length", "and their end")
            objects, done = events(server.chat(stream=True, **keys)[2])
            messages, reasons = put_together(objects)
            strip = [{**x, "id": 0} for x in calls]
            ok(done and messages[0]["content"] is None and
               [{**x, "id": 0} for x in messages[0]["calls"]] == strip and
               reasons == [choice["finish_reason"]], "the same as a stream")
    choice = server.chat(tools=TOOLS, tool_choice="required", temperature=1,
                         parallel_tool_calls=False,
                         max_tokens=200)[2]["choices"][0]
    ok(len(choice["message"]["tool_calls"]) == 1, "one call where one is asked")
    plain = server.chat(max_tokens=30, temperature=0)[2]["choices"][0]
    none = server.chat(max_tokens=30, temperature=0, tools=TOOLS,
                       tool_choice="none")[2]["choices"][0]
    ok(none == plain, "none is as if there were no tools")


def test_auto(server, begin):
    """The model may write what it likes; it is made to begin a call."""
    ids = server.ask("POST", "/tokenize", {"prompt": begin})[2]["tokens"]
    answer = server.chat(tools=TOOLS, temperature=0, max_tokens=20)
    ok(answer[0] == 200, "a text beside tools")
    choice = server.chat(tools=TOOLS, temperature=0, max_tokens=300,
                         logit_bias={str(ids[-1]): 60},
                         repetition_penalty=1.5)[2]["choices"][0]
    calls = choice["message"].get("tool_calls", [])
    whole = choice["finish_reason"] == "tool_calls"
    ok(calls and all(map(is_call, calls if whole else calls[:-1])),
       "what begins as a call is one: %.100s" % choice["message"])


def test_history(server):
    """Calls and results are a part of the prompt."""
    messages = [{"role": "user", "content": "Go"},
                {"role": "assistant", "content": None, "tool_calls": [
                    {"id": "call_1", "type": "function", "function": {
                        "name": "move", "arguments": "{\"x\":1}"}}]},
                {"role": "tool", "tool_call_id": "call_1",
                 "content": "done <|eom|>"}]
    text = server.ask("POST", "/apply-template", {"messages": messages})
    ok(text[0] == 200 and '"name": "move", "arguments": {"x": 1}' in
       text[2]["prompt"], "a call in the prompt: %r" % text[2])
    body = {"messages": messages, "max_tokens": 4, "tools": TOOLS}
    ok(server.ask("POST", "/v1/chat/completions", body)[0] == 200,
       "and goes on from there")
    messages[1]["tool_calls"][0]["function"]["arguments"] = "{"
    status, _, body = server.ask("POST", "/v1/chat/completions", body)
    ok(status == 400 and "arguments" in body["error"]["message"],
       body["error"]["message"])


def test_refusals(server):
    deep = {"type": "object", "properties": {"a": {"pattern": "x"}}}
    for keys, param, text in [
            ({"response_format": schema_format(deep)}, "response_format",
             "'/properties/a/pattern': the keyword 'pattern'"),
            ({"response_format": {"type": "xml"}}, "response_format", "type"),
            ({"response_format": {"type": "json_schema"}}, "response_format",
             "json_schema.schema"),
            ({"tools": [tool("f", deep, strict=True)]}, "tools",
             "'/f/parameters/properties/a/pattern'"),
            ({"tools": [{}]}, "tools", "tool 0 must be"),
            ({"tools": [tool("a b")]}, "tools", "a name"),
            ({"tools": [tool("f"), tool("f")]}, "tools", "no other has"),
            ({"tool_choice": "required"}, "tool_choice", "no tools"),
            ({"tools": TOOLS, "tool_choice": {
                "type": "function", "function": {"name": "g"}}}, "tool_choice",
             "no tool 'g'"),
            ({"tools": TOOLS, "tool_choice": "any"}, "tool_choice", "none")]:
        status, _, body = server.chat(**keys)
        ok(status == 400 and body["error"]["param"] == param and
           text in body["error"]["message"], body.get("error", body))
    ok(server.chat(tools=[tool("f", deep)], max_tokens=2)[0] == 200,
       "a tool that is not strict may have other keywords")


def main(model, row):
    server = Server(model)
    test_schemas(server)
    test_calls(server)
    test_auto(server, "<tool_calls>")
    test_history(server)
    test_refusals(server)
    ok(server.end() == 0, "the server ends")
    server = Server(row)
    test_calls(server, 1)
    ok(server.end() == 0, "and so does the other")
    return done()


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
