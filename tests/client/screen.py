# SPDX-License-Identifier: Apache-2.0
"""A program on a pseudo terminal, and what its screen shows."""
import codecs
import fcntl
import os
import pty
import re
import select
import struct
import subprocess
import termios
import time
import unicodedata

ESCAPE = re.compile(r"\x1b\[(\??)([0-9;]*)([A-Za-z])")


def columns(character):
    return 2 if unicodedata.east_asian_width(character) in "WF" else 1


class Screen:
    """
    The escape sequences that quantctl may use, and no other. Rows remember whether they go on in the
    next one, and are wrapped anew when the width changes, as most terminals do.
    """

    def __init__(self, width, height):
        self.width, self.height = width, height
        self.rows, self.y, self.x = [[[], False]], 0, 0  # cells; the right half of a wide one: ""
        self.wrapped = False    # a line was wider than the screen
        self.colored = False
        self.frames = 0
        self.rest = ""

    def resize(self, width, height):
        lines, y = [], 0
        for at, (cells, _) in enumerate(self.rows):
            if at == 0 or not self.rows[at - 1][1]:
                lines.append([])
            lines[-1] += cells
            if at == self.y:
                y = len(lines) - 1
        self.width, self.height, self.rows = width, height, []
        for at, cells in enumerate(lines):
            if at == y:
                self.y = len(self.rows)
            while len(cells) > width:
                self.rows.append([cells[:width], True])
                cells = cells[width:]
            self.rows.append([cells, False])

    def text(self):
        return "\n".join("".join(row[0]).rstrip() for row in self.rows).rstrip("\n")

    def put(self, character):
        n = columns(character)
        if self.x + n > self.width:
            self.wrapped = True
            self.rows[self.y][1] = True
            self.newline()
        cells = self.rows[self.y][0]
        cells += [" "] * (self.x - len(cells))
        cells[self.x:self.x + n] = [character] + [""] * (n - 1)
        self.x += n

    def newline(self):
        self.y, self.x = self.y + 1, 0
        while len(self.rows) <= self.y:
            self.rows.append([[], False])

    def escape(self, private, argument, final):
        if private:
            assert argument == "2026" and final in "hl", (argument, final)
            self.frames += final == "h"
        elif final == "m":
            self.colored = True
        elif final == "A":
            top = max(0, len(self.rows) - self.height)
            self.y = max(top, self.y - int(argument or 1))
        elif final == "K":
            self.rows[self.y] = [self.rows[self.y][0][:self.x], False]
        elif final == "J":
            self.rows[self.y] = [self.rows[self.y][0][:self.x], False]
            del self.rows[self.y + 1:]
        else:
            raise AssertionError(f"an escape sequence that is not ours: {final!r}")

    def feed(self, text):
        text, self.rest = self.rest + text, ""
        at = 0
        while at < len(text):
            character = text[at]
            if character == "\x1b":
                match = ESCAPE.match(text, at)
                if not match:
                    assert len(text) - at < 16, f"not an escape sequence: {text[at:at + 16]!r}"
                    self.rest = text[at:]
                    return
                self.escape(*match.groups())
                at = match.end()
                continue
            if character == "\n":
                self.newline()
            elif character == "\r":
                self.x = 0
            else:
                assert character.isprintable(), f"a control character: {character!r}"
                self.put(character)
            at += 1


class Program:
    def __init__(self, command, width=80, height=24, **environment):
        self.screen = Screen(width, height)
        self.master, slave = pty.openpty()
        self.set_size(width, height)
        known = {"PATH": os.environ["PATH"], "TERM": "xterm-256color", "LC_ALL": "C.UTF-8",
                 "HOME": "/nonexistent"}
        self.process = subprocess.Popen(
            command, stdin=slave, stdout=slave, stderr=slave, start_new_session=True,
            preexec_fn=lambda: fcntl.ioctl(0, termios.TIOCSCTTY, 0),
            env={**known, **{k: v for k, v in environment.items() if v is not None}})
        os.close(slave)
        self.decoder = codecs.getincrementaldecoder("utf-8")()

    def set_size(self, width, height):
        fcntl.ioctl(self.master, termios.TIOCSWINSZ, struct.pack("HHHH", height, width, 0, 0))

    def resize(self, width, height):
        self.read(0.3)
        self.screen.resize(width, height)
        self.screen.wrapped = False
        self.set_size(width, height)

    def echoes(self):
        return bool(termios.tcgetattr(self.master)[3] & termios.ECHO)

    def read(self, seconds):
        """Takes what comes within @seconds. False: the program has closed the terminal."""
        end = time.monotonic() + seconds
        while (left := end - time.monotonic()) > 0:
            if not select.select([self.master], [], [], left)[0]:
                return True
            try:
                data = os.read(self.master, 65536)
            except OSError:
                return False
            if not data:
                return False
            self.screen.feed(self.decoder.decode(data))
        return True

    def expect(self, *words, n_lines=0, seconds=60):
        """Waits until the screen shows all @words, in so many lines; returns it."""
        end = time.monotonic() + seconds
        while True:
            open_still = self.read(0.05)
            shown = self.screen.text()
            if all(word in shown for word in words) and n_lines in (0, len(shown.splitlines())):
                return shown
            if not open_still or time.monotonic() > end:
                raise AssertionError(f"{words} did not come:\n{shown}")

    def finish(self, seconds=60):
        """The exit status, after all was read."""
        end = time.monotonic() + seconds
        while self.read(0.2) and time.monotonic() < end:
            pass
        os.close(self.master)
        return self.process.wait(timeout=10)
