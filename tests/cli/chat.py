# SPDX-License-Identifier: Apache-2.0
"""weir run DEMO, and BYTES, without a prompt on a terminal: chat.py DEMO BYTES
edit|plain.  BYTES is a model whose tokens are single bytes, without a chat
template; lines are edited by libedit, or are plain."""
import json
import os
import re
import subprocess
import sys

from chat_terminal import PROMPT, WEIR, Terminal, main

DEMO, BYTES, LINES = sys.argv[1:]
STATE = os.path.join(os.getcwd(), "state")


def chat(model, *args, **env):
    env.setdefault("XDG_STATE_HOME", STATE)
    return Terminal("run", model, "--temp", "0", *args, **env)


def start(model, *args, **env):
    terminal = chat(model, *args, **env)
    terminal.wait(PROMPT)
    return terminal


def answer(shown):
    """Of a message in one line: what comes behind it, and the progress"""
    text = re.sub(r"[^\n]*\r\x1b\[K", "", shown or "")
    return re.sub(r"^[^\n]*\n", "", text).replace(">>> ", "")


def ask(terminal, text):
    return answer(terminal.say(text))


def kept(terminal):
    """(tokens of the last prompt, those that were there)"""
    found = re.search(r"prompt +(\d+) tokens, of which (\d+) were there",
                      terminal.say("/stats") or "")
    return tuple(map(int, found.groups())) if found else None


def run(*args):
    return subprocess.run([WEIR, "run"] + list(args), capture_output=True,
                          text=True, stdin=subprocess.DEVNULL)


def test_turns():
    terminal = chat(DEMO, "-n", "20")
    yield "/help" in (terminal.wait(PROMPT) or ""), "it says where help is"
    first = ask(terminal, "Hello there")
    alone = run(DEMO, "--chat", "--temp", "0", "-n", "20", "-p", "Hello there")
    yield (alone.stdout.strip() and first.strip() == alone.stdout.strip(),
           "an answer, that of --chat -p")
    before = kept(terminal)
    yield before and before[1] == 0, "nothing was there before it"
    second = ask(terminal, "Who made heaven?")
    after = kept(terminal)
    yield (after and after[1] > before[0] and after[0] - after[1] < 20,
           "the next turn reads only what is new: %s" % (after,))
    again = ask(terminal, "/regen")
    yield second.strip() and again == second, "/regen: the same, as greedy is"
    yield kept(terminal) == (after[0], after[0]), "for which nothing is read"
    yield "2 messages" in ask(terminal, "/undo"), "/undo takes a turn back"
    yield ask(terminal, "Who made heaven?") == second, "which comes the same"
    terminal.say("/undo")
    yield "0 messages" in ask(terminal, "/undo"), "/undo takes the first back"
    yield "nothing to take back" in ask(terminal, "/undo"), "and then no more"
    yield "nothing to answer" in ask(terminal, "/regen"), "nor is /regen"
    ask(terminal, "Hello there")
    yield "A new chat" in ask(terminal, "/clear"), "/clear"
    yield "nothing to take back" in ask(terminal, "/undo"), "leaves nothing"
    yield ask(terminal, "Hello there") == first, "but the same answer"
    terminal.send("/bye\r")
    yield terminal.end() == 0, "/bye ends it"


def test_commands():
    terminal = start(DEMO, "-n", "5", "--system", "Be kind.")
    help_text = ask(terminal, "/help")
    names = ["help", "system", "regen", "undo", "save", "load", "stats",
             "clear", "bye"]
    yield all("/" + name in help_text for name in names), "/help has them all"
    typo = ask(terminal, "/hlep me")
    yield ("no command /hlep me" in typo and
           all("/" + name in typo for name in names),
           "a typo says which there are")
    yield "Be kind." in ask(terminal, "/system"), "/system says it"
    terminal.say("/system Be \u00e9xact.")
    yield "Be \u00e9xact." in ask(terminal, "/system"), "/system sets it"
    ask(terminal, "Peace")
    with_system = kept(terminal)[0]
    terminal.say("/clear")
    yield "Be \u00e9xact." in ask(terminal, "/system"), "/clear leaves it"
    terminal.say('/system ""')
    yield "no system message" in ask(terminal, "/system"), "\"\" takes it away"
    ask(terminal, "Peace")
    yield kept(terminal)[0] < with_system, "the model does not read it then"
    yield "takes nothing" in ask(terminal, "/undo 2"), "one operand too many"
    yield "name of a file" in ask(terminal, "/save"), "none where one must be"
    stats = ask(terminal, "/stats")
    yield ("room for 16384" in stats and "tok/s" in stats and
           "greedy" in stats), "/stats"
    terminal.send("\x04")
    yield terminal.end() == 0, "Ctrl-D ends it"


def test_files():
    terminal = start(DEMO, "-n", "10", "--system", "Be kind.")
    first = ask(terminal, "Who is the king?")
    yield "Saved 2 messages" in ask(terminal, "/save kept.json"), "/save"
    with open("kept.json", encoding="utf-8") as file:
        messages = json.load(file)["messages"]
    yield ([m["role"] for m in messages] == ["system", "user", "assistant"] and
           messages[2]["content"] == first.strip("\n"), "as JSON")
    yield not os.path.exists("kept.json.part"), "and nothing beside it"
    yield "demo.weir" in ask(terminal, "/save demo.weir"), "not over the model"
    yield "nowhere" in ask(terminal, "/save nowhere/x"), "nor in no folder"
    terminal.send("/bye\r")
    terminal.end()
    rendered = subprocess.run([WEIR, "template", DEMO, "--input", "kept.json"],
                              capture_output=True, text=True)
    yield "Be kind." in rendered.stdout, "weir template reads it"
    terminal = start(DEMO, "-n", "10")
    yield "Loaded 2 messages" in ask(terminal, "/load kept.json"), "/load"
    yield "Be kind." in ask(terminal, "/system"), "with the system message"
    yield ask(terminal, "/regen") == first, "its last answer, again"
    for text, what in [("{", "JSON that is cut"), ("[]", "no object"),
                       ('{"messages": 1}', "no messages"),
                       ('{"messages": [1]}', "a message that is none"),
                       ('{"messages": [{"role": "user"}]}', "no content"),
                       ('{"messages": [{"role": 1, "content": ""}]}',
                        "a role that is none")]:
        with open("bad.json", "w", encoding="utf-8") as file:
            file.write(text)
        yield "bad.json" in ask(terminal, "/load bad.json"), what
    yield "missing.json" in ask(terminal, "/load missing.json"), "no file"
    yield ask(terminal, "/regen") == first, "the chat is as it was"
    terminal.send("/bye\r")
    yield terminal.end() == 0, "it ends as ever"


def test_lines():
    terminal = start(DEMO, "-n", "8")
    terminal.send('"""In the\r')
    yield terminal.wait(r"\.\.\. "), "a message of several lines goes on"
    terminal.send("beginning\r")
    terminal.wait(r"\.\.\. ")
    terminal.say('"""')
    terminal.say("/save lines.json")
    terminal.say('"""/help"""')
    terminal.say("/save quoted.json")
    with open("lines.json", encoding="utf-8") as file:
        yield (json.load(file)["messages"][0]["content"] ==
               "In the\nbeginning"), "its lines are one message"
    with open("quoted.json", encoding="utf-8") as file:
        yield (json.load(file)["messages"][2]["content"] == "/help",
               "between quotes a / is one")
    terminal.send('"""dropped\r')
    terminal.wait(r"\.\.\. ")
    terminal.send("\x03")
    yield terminal.wait(PROMPT), "Ctrl-C drops all of its lines"
    yield ask(terminal, "") == "", "an empty line says nothing"
    yield "Saved 4 messages" in ask(terminal, "/save x.json"), "it is no message"
    terminal.send("\x04")
    yield terminal.end() == 0, "Ctrl-D"
    path = os.path.join(STATE, "weir", "history")
    if LINES == "plain":
        yield not os.path.exists(path), "plain lines leave no history"
        return
    yield os.stat(path).st_mode & 0o777 == 0o600, "a history, for its owner"
    terminal = start(DEMO, "-n", "8")
    terminal.send("\x1b[A\r")  # which shows the prompt again
    yield terminal.wait("Saved 0.*\r\n>>> "), "the line before, again"
    terminal.send("/hel\x1b[Dx\x7f\x05p\r")
    yield terminal.wait("answer the last.*\r\n>>> "), "a line that is edited"
    terminal.send("\x04")
    terminal.end()
    os.remove(path)
    os.mkfifo(path)
    terminal = start(DEMO, "-n", "8")
    yield "/regen" in ask(terminal, "/help"), "a pipe in the history's place"
    terminal.send("\x04")
    yield terminal.end() == 0, "is left alone"
    os.remove(path)


def test_interrupt():
    terminal = start(DEMO, "--ignore-eos")
    terminal.send("Speak for ever\r")
    terminal.wait(r"left\x1b\[K.*\r\x1b\[K[^\r]{20}")
    terminal.send("\x03")
    yield terminal.wait(r"\[stopped\]"), "Ctrl-C stops an answer"
    yield terminal.wait(PROMPT), "and not the chat"
    yield "Saved 2 messages" in ask(terminal, "/save x.json"), "which has it"
    terminal.send("abc\x03")
    yield terminal.wait(PROMPT), "Ctrl-C drops a line"
    yield "/regen" in ask(terminal, "/help"), "the next one is whole"
    terminal.send("\x03")
    yield "Ctrl-C again" in (terminal.wait(PROMPT) or ""), "on an empty line"
    terminal.send("\x03")
    yield terminal.end() == 0, "again, and it ends"

    with open("long.json", "w", encoding="utf-8") as file:
        json.dump({"messages": [{"role": "user",
                                 "content": "the king said " * 4500}]}, file)
    terminal = start(DEMO, "-n", "5")
    first = ask(terminal, "Hello there")
    terminal.say("/load long.json")
    terminal.send("/regen\r")
    yield terminal.wait("reading the prompt .* tokens"), "a long prompt"
    terminal.send("\x03")
    shown = terminal.wait(PROMPT) or ""
    yield "the message is taken back" in shown, "Ctrl-C stops it"
    yield ask(terminal, "Hello there") == first, "and the chat goes on"
    terminal.send("/bye\r")
    yield terminal.end() == 0, "it ends as ever"


def test_room():
    terminal = start(DEMO, "--ctx", "64", "--ignore-eos")
    yield "[ended after" in ask(terminal, "Hello"), "an answer fills the room"
    yield "room for 64" in ask(terminal, "Hello"), "then there is none"
    terminal.say("/undo")
    yield "[ended after" in ask(terminal, "Hello"), "but after /undo"
    terminal.send("/bye\r")
    yield terminal.end() == 0, "it ends as ever"
    small = run(DEMO, "--ctx", "64", "-p", "Hello")
    yield small.returncode == 2 and "--ctx" in small.stderr, "no --ctx else"


def test_bare():
    terminal = chat(BYTES, "-n", "12")
    shown = terminal.wait(PROMPT) or ""
    yield ("without a chat template" in shown and "--chat-template" in shown,
           "a model without a template, and the cure")
    terminal.say("Hello")
    yield kept(terminal) == (6, 0), "a text is gone on with as it is"
    terminal.say("and")
    now = kept(terminal)
    yield now and now[0] > 20 and now[1] > 5, "and then: %s" % (now,)
    terminal.send("/bye\r")
    yield terminal.end() == 0, "it ends as ever"
    terminal = chat(BYTES, "--chat")
    terminal.wait("--chat-template")
    yield terminal.end() == 3, "--chat wants one"
    with open("think.jinja", "w", encoding="utf-8") as file:
        file.write("{% for m in messages %}{{ m.role }}: {{ m.content }}\n"
                   "{% endfor %}assistant: <think>\n")
    for env, dim in [({}, True), ({"NO_COLOR": "1"}, False),
                     ({"TERM": "dumb"}, False)]:
        terminal = start(BYTES, "-n", "12", "--chat-template", "think.jinja",
                         **env)
        shown = terminal.say("Hello") or ""
        yield (("\x1b[2m" in shown and "\x1b[0m" in shown) if dim else
               ("\x1b[2m" not in shown and "\x1b[0m" not in shown),
               "a thought is %s with %s" % ("dim" if dim else "plain", env))
        terminal.send("/bye\r")
        terminal.end()


def test_session():
    terminal = start(DEMO, "-n", "5", "--session", "kept")
    first = ask(terminal, "Hello there")
    terminal.send("/bye\r")
    yield terminal.end() == 0 and os.path.exists("kept"), "--session is left"
    terminal = start(DEMO, "-n", "5", "--session", "kept")
    again = ask(terminal, "Hello there")
    now = kept(terminal)
    yield again == first and now and now[0] == now[1], "nothing is read again"
    terminal.send("/bye\r")
    terminal.end()


def test_form():
    with open("form.json", "w", encoding="utf-8") as file:
        json.dump({"type": "object", "required": ["x"],
                   "properties": {"x": {"type": "string", "maxLength": 9}}},
                  file)
    terminal = start(DEMO, "--json-schema", "form.json")
    for message in ["Hello there", "Who made heaven?", "/regen"]:
        text = ask(terminal, message)
        yield (re.fullmatch(r'\s*\{\s*"x"\s*:\s*"[^"]{,9}"\s*\}\s*', text),
               "an answer that fits the schema: %r" % text)
    terminal.send("/bye\r")
    yield terminal.end() == 0, "it ends as ever"
    terminal = start(DEMO, "--json-schema", "form.json", "-n", "2")
    yield "[ended after 2 tokens" in ask(terminal, "Hello"), "one that is cut"
    terminal.send("/bye\r")
    terminal.end()
    for arguments, status, what in [
            (["--json-schema", "-"], 2, "a schema from the terminal"),
            (["--json-schema", "nothing.json"], 1, "one that is not there")]:
        terminal = chat(DEMO, *arguments)
        yield (terminal.end() == status and b">>>" not in terminal.all and
               b"json" in terminal.all, "no chat with " + what)


def test_pipe():
    by_option = run(DEMO, "--temp", "0", "-n", "9", "-p", "Hello")
    by_pipe = subprocess.run([WEIR, "run", DEMO, "--temp", "0", "-n", "9"],
                             input="Hello", capture_output=True, text=True)
    yield (by_pipe.stdout and by_pipe.stdout == by_option.stdout,
           "a pipe is a prompt, as ever")
    terminal = chat(DEMO, "-n", "9", "-p", "Hello")
    shown = terminal.wait("[.!?a-z]{4}") or ""
    yield (terminal.end() == 0 and b">>>" not in terminal.all and shown,
           "so is -p on a terminal")
    terminal = chat(DEMO, "-n", "9", "--json")
    terminal.send("Hello\r\x04\x04")
    yield terminal.wait('"prompt_tokens"'), "--json reads a prompt there"
    yield terminal.end() == 0, "once"


main([test_turns, test_commands, test_files, test_lines, test_interrupt,
      test_room, test_bare, test_session, test_form, test_pipe])
