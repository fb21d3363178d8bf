# SPDX-License-Identifier: Apache-2.0
"""Compares weir template with jinja2, set up as transformers does it.

usage: compare.py WEIR FOLDER [TEMPLATE...]

FOLDER holds templates NAME.jinja, which like the others are rendered with
input.json and each input of chatml.json, and expressions.json, lists of small
templates for input.json.  Where jinja2 refuses, weir must too.  Prints TAP.
"""
import datetime
import glob
import json
import os
import subprocess
import sys

import jinja2
import jinja2.ext
import jinja2.nodes
import jinja2.sandbox


class Generation(jinja2.ext.Extension):
    """{% generation %}: what stands in it, in a scope of its own."""

    tags = {"generation"}

    def parse(self, parser):
        line = next(parser.stream).lineno
        body = parser.parse_statements(["name:endgeneration"],
                                       drop_needle=True)
        call = self.call_method("_body")
        return jinja2.nodes.CallBlock(call, [], [], body).set_lineno(line)

    def _body(self, caller):
        return caller()


def raise_exception(message):
    raise jinja2.exceptions.TemplateError(message)


def tojson(x, ensure_ascii=False, indent=None, separators=None,
           sort_keys=False):
    return json.dumps(x, ensure_ascii=ensure_ascii, indent=indent,
                      separators=separators, sort_keys=sort_keys)


def strftime_now(form):
    return datetime.datetime.now().strftime(form)


def environment():
    env = jinja2.sandbox.ImmutableSandboxedEnvironment(
        trim_blocks=True, lstrip_blocks=True,
        extensions=[Generation, jinja2.ext.loopcontrols])
    env.filters["tojson"] = tojson
    env.globals["raise_exception"] = raise_exception
    env.globals["strftime_now"] = strftime_now
    return env


def expected(env, template, variables):
    """The text, or None, and why."""
    try:
        return env.from_string(template).render(**variables), ""
    except Exception as error:  # whatever it is, it is a refusal
        return None, "%s: %s" % (type(error).__name__, error)


def rendered(weir, template, variables):
    with open("t.jinja", "w", encoding="utf-8", newline="") as file:
        file.write(template)
    with open("in.json", "w", encoding="utf-8") as file:
        json.dump(variables, file, ensure_ascii=False)
    run = subprocess.run([weir, "template", "--file", "t.jinja", "--input",
                          "in.json"], capture_output=True)
    text = run.stdout.decode("utf-8") if run.returncode == 0 else None
    return text, run.stderr.decode("utf-8").strip(), run.returncode


def show(name, value):
    print("# %s: %s" % (name, json.dumps(value, ensure_ascii=False)))


def load(path):
    with open(path, encoding="utf-8", newline="") as file:
        return file.read()


def cases(folder, others):
    """Name, template, variables, and whether jinja2 is meant to refuse."""
    common = json.loads(load(os.path.join(folder, "input.json")))
    chats = json.loads(load(os.path.join(folder, "chatml.json")))
    own = sorted(glob.glob(os.path.join(folder, "*.jinja")))
    for path in own + others:
        for number, variables in enumerate([common] + chats):
            yield ("%s, input %d" % (os.path.basename(path), number),
                   load(path), variables, None)
    lists = json.loads(load(os.path.join(folder, "expressions.json")))
    for key, refused in (("rendered", False), ("refused", True)):
        for template in lists[key]:
            yield template, template, common, refused


def main():
    weir, folder = sys.argv[1:3]
    env = environment()
    number = 0
    failed = 0
    for name, template, variables, refused in cases(folder, sys.argv[3:]):
        number += 1
        want, why = expected(env, template, variables)
        got, message, status = rendered(weir, template, variables)
        good = got == want and status in (0, 3)
        if refused is not None:
            good = good and (want is None) == refused
        if want is None:
            good = good and message.startswith("weir template: t.jinja:")
        failed += not good
        print("%sok %d - %s" % ("" if good else "not ", number,
                                json.dumps(name).replace("#", "\\#")))
        if not good:
            show("jinja2", want if want is not None else why)
            show("weir", got if got is not None else message)
    print("1..%d" % number)
    return failed > 0


if __name__ == "__main__":
    sys.exit(main())
