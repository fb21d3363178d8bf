# SPDX-License-Identifier: Apache-2.0
"""answer_form.py: what is on standard input fits the schema of answer_form.sh."""
import json
import sys


def fits(value):
    return (list(value)[:1] == ["name"] and
            set(value) - {"age"} == {"name", "tags"} and
            isinstance(value["name"], str) and len(value["name"]) <= 8 and
            isinstance(value.get("age", 0), int) and
            0 <= value.get("age", 0) <= 130 and
            1 <= len(value["tags"]) <= 3 and
            all(tag in ["a", "b\u00e9", 3] for tag in value["tags"]))


sys.exit(not fits(json.loads(sys.stdin.buffer.read().decode())))
