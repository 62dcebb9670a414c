# SPDX-License-Identifier: Apache-2.0
"""A terminal for pictures: commands typed into tmux, the screen drawn as SVG."""
import re
import subprocess
import tempfile
import time
import unicodedata
from html import escape

WAIT_SECONDS = 300
PROMPT = "$ "

# Drawing: pixels of a character cell, of the margin, and of the title.
CELL_WIDTH, CELL_HEIGHT, FONT_SIZE, MARGIN, TITLE = 8.4, 18, 14, 16, 30
BACKGROUND, FOREGROUND, FRAME = "#16181d", "#d9dce3", "#2a2e37"
COLOURS = ("#3b4048", "#e06c75", "#8cc265", "#d8a657", "#61afef", "#c678dd", "#56b6c2", "#c8ccd4",
           "#7f848e", "#ff7b86", "#a5e075", "#f0c05a", "#7bc3ff", "#de90f0", "#6fd3df", "#ffffff")
SGR = re.compile(r"\x1b\[([0-9;]*)m")
RUN = re.compile(r"\S+(?: \S+)*")
FACES = {1: "bold", 2: "dim", 3: "italic", 4: "underline", 7: "reverse"}
FACES_OFF = {22: ("bold", "dim"), 23: ("italic",), 24: ("underline",), 27: ("reverse",)}


class Terminal:
    """A shell in a tmux server of its own. A context manager: at its end the server is gone."""

    def __init__(self, columns, lines, environment):
        self.folder = tempfile.TemporaryDirectory(prefix="terminal-")
        self.base = ["tmux", "-S", self.folder.name + "/socket", "-f", "/dev/null"]
        settings = [f"{name}={value}" for name, value in
                    {**environment, "PS1": PROMPT, "LC_ALL": "C.UTF-8", "HISTFILE": ""}.items()]
        self._tmux("new-session", "-d", "-x", str(columns), "-y", str(lines),
                   "env", *settings, "bash", "--norc", "--noprofile")
        self._tmux("set", "-g", "status", "off")
        self.wait(lambda text: text.startswith(PROMPT.strip()), "a prompt")

    def _tmux(self, *words):
        return subprocess.run([*self.base, *words], check=True, capture_output=True,
                              text=True).stdout

    def type(self, command):
        """Types a command on an empty screen, and Enter."""
        self._tmux("send-keys", "C-l")
        self.wait(lambda text: text.strip() == PROMPT.strip(), "an empty screen")
        self._tmux("send-keys", "-l", command)
        self._tmux("send-keys", "Enter")
        self.wait(lambda text: text.strip() != PROMPT.strip(), "what was typed")

    def text(self):
        return self._tmux("capture-pane", "-p").rstrip()

    def screen(self):
        """The screen with colours, without what is empty below."""
        return self._tmux("capture-pane", "-p", "-e").rstrip("\n")

    def wait(self, condition, what, seconds=WAIT_SECONDS):
        end = time.monotonic() + seconds
        while not condition(self.text()):
            if time.monotonic() > end:
                raise RuntimeError(f"not seen within {seconds} s: {what}\n{self.text()}")
            time.sleep(0.1)

    def ended(self):
        """Waits for the next prompt."""
        self.wait(lambda text: text.splitlines()[-1:] == [PROMPT.strip()], "the command's end")

    def run(self, command):
        """The screen when a command has ended, without the new prompt."""
        self.type(command)
        self.ended()
        return self.screen().rsplit("\n", 1)[0]

    def __enter__(self):
        return self

    def __exit__(self, *_):
        subprocess.run([*self.base, "kill-server"], check=False, capture_output=True)
        self.folder.cleanup()


def palette(index):
    """The colour of a number of the 256."""
    if index < 16:
        return COLOURS[index]
    if index >= 232:
        grey = 8 + 10 * (index - 232)
        return f"#{grey:02x}{grey:02x}{grey:02x}"
    index -= 16
    steps = [step and 55 + 40 * step for step in (index // 36, index // 6 % 6, index % 6)]
    return "#{:02x}{:02x}{:02x}".format(*steps)


class Face:
    """What the escapes so far have set."""

    def __init__(self):
        self.faces, self.fore, self.back = set(), None, None

    def apply(self, parameters):
        codes = [int(code or 0) for code in parameters.split(";")]
        while codes:
            code = codes.pop(0)
            if code == 0:
                self.__init__()
            elif code in FACES:
                self.faces.add(FACES[code])
            elif code in FACES_OFF:
                self.faces.difference_update(FACES_OFF[code])
            elif code in (38, 48):
                self._set(code == 38, self._extended(codes))
            elif code in (39, 49):
                self._set(code == 39, None)
            elif 30 <= code <= 37 or 90 <= code <= 97:
                self._set(True, COLOURS[code - 30 if code < 90 else code - 82])
            elif 40 <= code <= 47 or 100 <= code <= 107:
                self._set(False, COLOURS[code - 40 if code < 100 else code - 92])

    @staticmethod
    def _extended(codes):
        """38;5;N and 38;2;R;G;B, behind the 38."""
        kind = codes.pop(0) if codes else None
        if kind == 5 and codes:
            return palette(codes.pop(0) & 255)
        if kind == 2 and len(codes) >= 3:
            return "#{:02x}{:02x}{:02x}".format(*(codes.pop(0) & 255 for _ in range(3)))
        return None

    def _set(self, fore, colour):
        if fore:
            self.fore = colour
        else:
            self.back = colour

    def style(self):
        """(foreground, background or None, attributes of the text)."""
        fore, back = self.fore or FOREGROUND, self.back
        if "reverse" in self.faces:
            fore, back = back or BACKGROUND, fore
        extra = ' font-weight="bold"' if "bold" in self.faces else ""
        extra += ' font-style="italic"' if "italic" in self.faces else ""
        extra += ' text-decoration="underline"' if "underline" in self.faces else ""
        extra += ' opacity="0.65"' if "dim" in self.faces else ""
        return fore, back, extra


def columns_of(text):
    """How many cells a text takes."""
    wide = sum(unicodedata.east_asian_width(c) in "WF" for c in text)
    return len(text) + wide - sum(bool(unicodedata.combining(c)) for c in text)


def draw_line(line, face, y):
    """SVG elements of a line; each run of words has its own place and length, whatever the font."""
    column = 0
    for i, part in enumerate(SGR.split(line)):
        if i % 2:
            face.apply(part)
            continue
        fore, back, extra = face.style()
        if back and part:
            yield (f'<rect x="{MARGIN + column * CELL_WIDTH:.1f}" y="{y}" height="{CELL_HEIGHT}" '
                   f'width="{columns_of(part) * CELL_WIDTH:.1f}" fill="{back}"/>')
        for run in RUN.finditer(part):
            x = MARGIN + (column + columns_of(part[:run.start()])) * CELL_WIDTH
            yield (f'<text x="{x:.1f}" y="{y + FONT_SIZE}" fill="{fore}"{extra} '
                   f'textLength="{columns_of(run[0]) * CELL_WIDTH:.1f}">{escape(run[0])}</text>')
        column += columns_of(part)


def svg(screen, title, columns):
    """The SVG of a screen as capture-pane -e gives it."""
    lines, face = screen.split("\n"), Face()
    width = columns * CELL_WIDTH + 2 * MARGIN
    height = len(lines) * CELL_HEIGHT + TITLE + MARGIN
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width:.0f} {height:.0f}" '
        f'width="{width:.0f}" height="{height:.0f}" role="img" aria-label="{escape(title)}">',
        f"<title>{escape(title)}</title>",
        f'<rect width="100%" height="100%" rx="8" fill="{BACKGROUND}"/>',
        f'<path d="M0 {TITLE - 8}V8a8 8 0 0 1 8-8h{width - 16:.0f}a8 8 0 0 1 8 8v{TITLE - 16}z" '
        f'fill="{FRAME}"/>',
        '<g font-family="ui-monospace, \'DejaVu Sans Mono\', Menlo, Consolas, monospace" '
        f'font-size="{FONT_SIZE}">',
    ]
    for row, line in enumerate(lines):
        parts += draw_line(line, face, TITLE + row * CELL_HEIGHT)
    return "\n".join(parts + ["</g>", "</svg>", ""])
