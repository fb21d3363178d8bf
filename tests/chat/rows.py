# SPDX-License-Identifier: Apache-2.0
"""Renders the rows of golden.json in FOLDER with weir template.

usage: rows.py WEIR FOLDER
"""
import json
import os
import subprocess
import sys


def main():
    weir, folder = sys.argv[1:]
    with open(os.path.join(folder, "golden.json"), encoding="utf-8") as file:
        rows = json.load(file)
    failed = 0
    for row in rows:
        run = subprocess.run(
            [weir, "template", "--file", os.path.join(folder, row["template"])],
            input=json.dumps(row["input"]).encode(), capture_output=True)
        if run.stdout.decode("utf-8") != row["rendered"] or run.returncode:
            failed += 1
            print("%s: %r %r" % (row["name"], run.stdout, run.stderr))
    print("%d rows" % len(rows))
    return failed > 0 or not rows


if __name__ == "__main__":
    sys.exit(main())
