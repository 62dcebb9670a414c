#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""The drawing of a terminal's screen by scripts/terminal.py. Usage: test_terminal.py SOURCE"""
import shutil
import sys
import unittest
import xml.dom.minidom

sys.path.insert(0, sys.argv.pop(1) + "/scripts")
import terminal  # noqa: E402


def texts(screen):
    """(x in columns, row, words, attributes) of each text of a screen's picture."""
    document = xml.dom.minidom.parseString(terminal.svg(screen, "a <title>", 80))
    for node in document.getElementsByTagName("text"):
        column = (float(node.getAttribute("x")) - terminal.MARGIN) / terminal.CELL_WIDTH
        row = (int(node.getAttribute("y")) - terminal.TITLE) // terminal.CELL_HEIGHT
        yield round(column), row, node.firstChild.data, dict(node.attributes.items())


class Picture(unittest.TestCase):
    def test_places(self):
        found = [text[:3] for text in texts("$ list\n  a b   c&<\n\n\u6f22x")]
        self.assertEqual(found, [(0, 0, "$ list"), (2, 1, "a b"), (8, 1, "c&<"), (0, 3, "\u6f22x")])

    def test_faces(self):
        styles = {words: style for _, _, words, style in texts(
            "\x1b[1mbold\x1b[22mplain \x1b[32mgreen\x1b[0mnone \x1b[38;5;196mred \x1b[38;2;1;2;3mrgb"
            "\x1b[39m\x1b[7mturned")}
        self.assertEqual(styles["bold"]["font-weight"], "bold")
        self.assertNotIn("font-weight", styles["plain"])
        self.assertEqual(styles["green"]["fill"], terminal.COLOURS[2])
        self.assertEqual(styles["none"]["fill"], terminal.FOREGROUND)
        self.assertEqual(styles["red"]["fill"], "#ff0000")
        self.assertEqual(styles["rgb"]["fill"], "#010203")
        self.assertEqual(styles["turned"]["fill"], terminal.BACKGROUND)

    def test_what_is_cut_off(self):
        self.assertEqual([text[2] for text in texts("\x1b[38;5ma\x1b[48mb\x1b[mc")], ["a", "b", "c"])

    def test_backgrounds(self):
        self.assertIn(f'fill="{terminal.COLOURS[1]}"', terminal.svg("\x1b[41m  \x1b[0m", "x", 80))

    @unittest.skipUnless(shutil.which("tmux"), "no tmux")
    def test_shell(self):
        with terminal.Terminal(60, 10, {"WORD": "hello"}) as shell:
            screen = shell.run("printf '\\033[31m%s\\033[0m\\n' $WORD")
        self.assertEqual([text[2] for text in texts(screen)][-1], "hello")
        self.assertIn("\x1b[31mhello", screen)


if __name__ == "__main__":
    unittest.main()
