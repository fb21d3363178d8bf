# SPDX-License-Identifier: Apache-2.0
"""A program on a terminal of its own, and what it shows there."""
import fcntl
import os
import pty
import re
import select
import signal
import struct
import sys
import termios
import time

WEIR = os.environ["WEIR"]
SECONDS = 120  # more than enough, also under a sanitizer


class Terminal:
    def __init__(self, *args, **env):
        self.pid, self.fd = pty.fork()
        if self.pid == 0:
            os.environ.update({"TERM": "xterm", "LC_ALL": "C.UTF-8"})
            os.environ.update(env)
            os.execv(WEIR, [WEIR] + list(args))
        fcntl.ioctl(self.fd, termios.TIOCSWINSZ,
                    struct.pack("HHHH", 50, 500, 0, 0))
        self.shown = b""  # since the last wait
        self.all = b""
        self.status = None

    def pump(self, seconds):
        """Takes what is shown within that time; False at the end."""
        if not select.select([self.fd], [], [], seconds)[0]:
            return True
        try:
            data = os.read(self.fd, 65536)
        except OSError:
            data = b""
        self.shown += data
        self.all += data
        return bool(data)

    def wait(self, pattern):
        """What is shown up to the pattern, which must come; else None."""
        pattern = pattern.encode() if isinstance(pattern, str) else pattern
        end = time.monotonic() + SECONDS
        while True:
            found = re.search(pattern, self.shown, re.DOTALL)
            if found:
                text = self.shown[:found.end()]
                self.shown = self.shown[found.end():]
                return text.replace(b"\r\n", b"\n").decode(errors="replace")
            if time.monotonic() > end or not self.pump(1):
                print("# no %r in: %r" % (pattern, self.shown[-2000:]))
                return None

    def send(self, text):
        os.write(self.fd, text.encode() if isinstance(text, str) else text)

    def say(self, text):
        """Types a line at a prompt, and gives what comes up to the next one."""
        self.send(text + "\r")
        return self.wait(PROMPT)

    def end(self):
        """The exit status, or minus the signal"""
        end = time.monotonic() + SECONDS
        while time.monotonic() < end and self.pump(0.1):
            pass
        while time.monotonic() < end:
            pid, status = os.waitpid(self.pid, os.WNOHANG)
            if pid:
                os.close(self.fd)
                return os.waitstatus_to_exitcode(status)
            time.sleep(0.02)
        os.kill(self.pid, signal.SIGKILL)
        os.waitpid(self.pid, 0)
        return None


PROMPT = r">>> "


def main(tests):
    n = bad = 0
    for test in tests:
        for good, text in test():
            n += 1
            bad += not good
            print("%sok %d - %s" % ("" if good else "not ", n, text),
                  flush=True)
    print("1..%d" % n)
    sys.exit(bad > 0)
