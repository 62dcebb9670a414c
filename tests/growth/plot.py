# SPDX-License-Identifier: Apache-2.0
"""Lines on two logarithmic axes as an SVG, for a light background and also for narrow screens."""
import math
from xml.sax.saxutils import escape

WIDTH, HEIGHT = 390, 320
LEFT, RIGHT, TOP, BOTTOM = 46, 20, 34, 40
COLOURS = ("#1f5fbf", "#b3400f", "#1b7a3d", "#7a3fa8", "#8a6a00", "#0f7a80", "#a8325e", "#555555")
LEGEND_LINE = 16


def short(value):
    """1000 as 1k, 0.001 as it is."""
    for size, letter in ((10**6, "M"), (1000, "k")):
        if value >= size:
            return f"{value / size:g}{letter}"
    return f"{value:g}"


class Axis:
    """From values to places. Powers of ten are marked, and on a short axis 2 and 5 between them."""

    def __init__(self, values, begin, end):
        values = [value for value in values if value > 0]
        self.low = math.floor(math.log10(min(values)))
        self.high = max(math.ceil(math.log10(max(values))), self.low + 1)
        self.begin, self.end = begin, end

    def at(self, value):
        part = (math.log10(value) - self.low) / (self.high - self.low)
        return self.begin + part * (self.end - self.begin)

    def marks(self):
        between = (1, 2, 5) if self.high - self.low < 3 else (1,)
        values = [10.0 ** power * times for power in range(self.low, self.high + 1)
                  for times in between]
        return [value for value in values if value <= 10 ** self.high]


def grid(x, y, unit):
    right, bottom = WIDTH - RIGHT, HEIGHT - BOTTOM
    for value in x.marks():
        yield f'<line x1="{x.at(value):.1f}" y1="{TOP}" x2="{x.at(value):.1f}" y2="{bottom}"/>'
        yield f'<text x="{x.at(value):.1f}" y="{bottom + 16}" text-anchor="middle">{short(value)}</text>'
    for value in y.marks():
        yield f'<line x1="{LEFT}" y1="{y.at(value):.1f}" x2="{right}" y2="{y.at(value):.1f}"/>'
        yield f'<text x="{LEFT - 6}" y="{y.at(value) + 4:.1f}" text-anchor="end">{short(value)}</text>'
    yield (f'<text x="{(LEFT + right) / 2}" y="{bottom + 34}" text-anchor="middle">'
           f'{escape(unit)}</text>')


def lines(x, y, xs, series):
    for i, (name, values) in enumerate(series.items()):
        colour = COLOURS[i % len(COLOURS)]
        points = [(x.at(at), y.at(value)) for at, value in zip(xs, values) if value > 0]
        yield (f'<polyline fill="none" stroke="{colour}" stroke-width="2" points="'
               + " ".join(f"{a:.1f},{b:.1f}" for a, b in points) + '"/>')
        for a, b in points:
            yield f'<circle cx="{a:.1f}" cy="{b:.1f}" r="3" fill="{colour}"/>'
        at = HEIGHT + LEGEND_LINE * (i + 1)
        yield f'<rect x="{LEFT}" y="{at - 9}" width="10" height="10" fill="{colour}"/>'
        yield f'<text x="{LEFT + 16}" y="{at}">{escape(name)}</text>'


def svg(title, unit, xs, series):
    """@series: name = values at @xs; @unit: what xs count."""
    height = HEIGHT + LEGEND_LINE * (len(series) + 1)
    x = Axis(xs, LEFT, WIDTH - RIGHT)
    y = Axis([value for values in series.values() for value in values], HEIGHT - BOTTOM, TOP)
    return "\n".join([
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" width="{WIDTH}" '
        f'height="{height}" font-family="sans-serif" font-size="12" role="img">',
        f"<title>{escape(title)}</title>",
        f'<rect width="{WIDTH}" height="{height}" fill="#ffffff"/>',
        f'<text x="{LEFT}" y="20" font-size="14" fill="#111111">{escape(title)}</text>',
        '<g stroke="#dddddd" fill="#333333" stroke-width="1">',
        *(line.replace("<text", '<text stroke="none"') for line in grid(x, y, unit)), "</g>",
        '<g fill="#111111">', *lines(x, y, xs, series), "</g>", "</svg>", ""])
