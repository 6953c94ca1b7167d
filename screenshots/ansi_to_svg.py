#!/usr/bin/env python3
"""ansi_to_svg.py COLUMNS < SCREEN > PICTURE: draws a captured terminal screen as an SVG.

SCREEN is what `tmux capture-pane -p -e` prints: lines of text with SGR sequences (ECMA-48 8.3.117; 256 colours and RGB as
xterm has them). Every cell stays in its column whatever the viewer's font is: text is stretched to its cells, blocks and
box drawing are drawn as shapes.
"""

import re
import sys
import unicodedata
from xml.sax.saxutils import escape

CELL_WIDTH, CELL_HEIGHT, BASELINE = 8, 17, 13
FOREGROUND, BACKGROUND = "#d0d0d0", "#14161a"
BASIC = ("#1d1f21", "#cc6666", "#8fb573", "#e0b860", "#6f9fd8", "#b294bb", "#70b8b4", "#c5c8c6",
         "#5c6370", "#e08080", "#aad08c", "#f0cf80", "#8fb8f0", "#cfb0d8", "#90d4d0", "#ffffff")
FONT = "ui-monospace,'DejaVu Sans Mono',Menlo,Consolas,monospace"

# Which of (up, right, down, left) a light line leaves the middle of the cell by.
LINES = {
    "─": "rl", "│": "ud", "┌": "rd", "┐": "dl", "└": "ur", "┘": "ul", "├": "urd", "┤": "udl", "┬": "rdl", "┴": "url",
    "┼": "urdl", "╭": "rd", "╮": "dl", "╰": "ur", "╯": "ul", "╴": "l", "╵": "u", "╶": "r", "╷": "d",
    "━": "rl", "┃": "ud", "┏": "rd", "┓": "dl", "┗": "ur", "┛": "ul", "┣": "urd", "┫": "udl", "┳": "rdl", "┻": "url",
    "╋": "urdl", "═": "rl", "║": "ud", "╔": "rd", "╗": "dl", "╚": "ur", "╝": "ul",
}
HEAVY = set("━┃┏┓┗┛┣┫┳┻╋═║╔╗╚╝")
ENDS = {"u": "V0", "d": f"V{CELL_HEIGHT}", "l": "H0", "r": f"H{CELL_WIDTH}"}
# Block elements as (x, y, width, height) in eighths of the cell, and the opacity of the shades.
BLOCKS = {"█": (0, 0, 8, 8), "▀": (0, 0, 8, 4), "▐": (4, 0, 4, 8), "▔": (0, 0, 8, 1), "▕": (7, 0, 1, 8)}
BLOCKS |= {chr(0x2580 + n): (0, 8 - n, 8, n) for n in range(1, 8)}
BLOCKS |= {chr(0x2590 - n): (0, 0, n, 8) for n in range(1, 8)}
SHADES = {"░": 0.25, "▒": 0.5, "▓": 0.75}


def indexed(number):
    """The colour of an index of xterm's 256."""
    if number < 16:
        return BASIC[number]
    if number < 232:
        steps = (0, 95, 135, 175, 215, 255)
        number -= 16
        return "#%02x%02x%02x" % (steps[number // 36], steps[number // 6 % 6], steps[number % 6])
    return "#%02x%02x%02x" % ((8 + 10 * (number - 232),) * 3)


class Style:
    """The graphic rendition in force at one place of the screen."""

    def __init__(self):
        self.reset()

    def reset(self):
        self.foreground = self.background = None
        self.bold = self.dim = self.italic = self.underlined = self.reversed = False

    def apply(self, parameters):
        codes = [int(code or 0) for code in re.split("[;:]", parameters)]
        while codes:
            code = codes.pop(0)
            if code == 0:
                self.reset()
            elif code in (38, 48):
                colour = self.extended(codes)
                if code == 38:
                    self.foreground = colour
                else:
                    self.background = colour
            elif code in (39, 49):
                setattr(self, "foreground" if code == 39 else "background", None)
            elif 30 <= code <= 37 or 90 <= code <= 97:
                self.foreground = BASIC[code % 10 + (8 if code >= 90 else 0)]
            elif 40 <= code <= 47 or 100 <= code <= 107:
                self.background = BASIC[code % 10 + (8 if code >= 100 else 0)]
            elif code == 22:
                self.bold = self.dim = False
            else:
                name = {1: "bold", 2: "dim", 3: "italic", 4: "underlined", 7: "reversed"}.get(code % 20)
                if name:
                    setattr(self, name, code < 20)

    @staticmethod
    def extended(codes):
        kind = codes.pop(0) if codes else 0
        if kind == 5 and codes:
            return indexed(codes.pop(0))
        if kind == 2 and len(codes) >= 3:
            return "#%02x%02x%02x" % tuple(codes.pop(0) for _ in range(3))
        return None

    def colours(self):
        pair = self.foreground or FOREGROUND, self.background or BACKGROUND
        return pair[::-1] if self.reversed else pair

    def key(self):
        return (*self.colours(), self.bold, self.dim, self.italic, self.underlined)


def cells(line, style):
    """Yields (column, text, width, style key) for each cell; text holds the combining characters, too."""
    column, pending = 0, None
    for part in re.split(r"(\x1b\[[0-9;:]*m|\x1b[()][A-Z0-9]|[\x0e\x0f])", line):
        if part.startswith("\x1b["):
            style.apply(part[2:-1])
        elif part and part[0] not in "\x1b\x0e\x0f":
            for character in part:
                if unicodedata.combining(character) and pending:
                    pending[1] += character
                    continue
                if pending:
                    yield tuple(pending)
                width = 2 if unicodedata.east_asian_width(character) in "WF" else 1
                pending = [column, character, width, style.key()]
                column += width
    if pending:
        yield tuple(pending)


def drawn(character):
    """Whether the character is drawn as a shape."""
    return character in BLOCKS or character in SHADES or character in LINES


def joins(character):
    """Whether equal neighbours make one longer shape."""
    return LINES.get(character) == "rl" or BLOCKS.get(character, (0, 0, 8, 8))[2] == 8 and character not in LINES


def shape(character, count, x, y, colour):
    """`count` equal blocks or box drawings side by side as SVG."""
    if character not in LINES:
        left, top, width, height = BLOCKS.get(character, (0, 0, 8, 8))
        width *= count
        opacity = f' fill-opacity="{SHADES[character]}"' if character in SHADES else ""
        return (f'<rect x="{x + left * CELL_WIDTH / 8:g}" y="{y + top * CELL_HEIGHT / 8:g}" '
                f'width="{width * CELL_WIDTH / 8:g}" height="{height * CELL_HEIGHT / 8:g}" fill="{colour}"{opacity}/>')
    middle = f"M{CELL_WIDTH / 2:g} {CELL_HEIGHT / 2:g}"
    path = "".join(middle + ENDS[end] for end in LINES[character])
    if count > 1:
        path = f"M0 {CELL_HEIGHT / 2:g}H{CELL_WIDTH * count}"
    width = 2 if character in HEAVY else 1
    return f'<path transform="translate({x} {y})" d="{path}" stroke="{colour}" stroke-width="{width}"/>'


def runs(row):
    """Joins neighbouring cells that are drawn as one thing: (column, text, width, style key)."""
    joined = []
    for column, text, width, key in row:
        last = joined[-1] if joined else None
        if last and last[3] == key and (
            joins(text) and last[1][0] == text if drawn(text) else not drawn(last[1][0])
        ):
            last[1] += text
            last[2] += width
        else:
            joined.append([column, text, width, key])
    return joined


def draw_text(text, x, y, width, key):
    colour, _, bold, dim, italic, underlined = key
    visible = text.strip()
    if not visible:
        return ""
    skipped = len(text) - len(text.lstrip())
    length = (width - (len(text) - len(visible))) * CELL_WIDTH
    attributes = f' x="{x + skipped * CELL_WIDTH}" y="{y + BASELINE}" fill="{colour}" textLength="{length}"'
    attributes += ' font-weight="bold"' if bold else ""
    attributes += ' fill-opacity="0.6"' if dim else ""
    attributes += ' font-style="italic"' if italic else ""
    attributes += ' text-decoration="underline"' if underlined else ""
    return f"<text{attributes}>{escape(visible)}</text>"


def main():
    columns = int(sys.argv[1])
    lines = sys.stdin.buffer.read().decode("utf-8", "replace").split("\n")
    if lines and not lines[-1]:
        lines.pop()
    style = Style()
    backgrounds, foregrounds = [], []
    for number, line in enumerate(lines):
        y = number * CELL_HEIGHT
        for column, text, width, key in runs(cells(line, style)):
            x = column * CELL_WIDTH
            if key[1] != BACKGROUND:
                backgrounds.append(f'<rect x="{x}" y="{y}" width="{width * CELL_WIDTH}" height="{CELL_HEIGHT}" fill="{key[1]}"/>')
            if drawn(text[0]):
                foregrounds.append(shape(text[0], len(text), x, y, key[0]))
            else:
                foregrounds.append(draw_text(text, x, y, width, key))
    margin = CELL_WIDTH
    width, height = columns * CELL_WIDTH + 2 * margin, len(lines) * CELL_HEIGHT + 2 * margin
    print(f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="{-margin} {-margin} {width} {height}" width="{width}" height="{height}">')
    print(f'<rect x="{-margin}" y="{-margin}" width="{width}" height="{height}" rx="6" fill="{BACKGROUND}"/>')
    print(f'<g shape-rendering="crispEdges">{"".join(backgrounds)}</g>')
    print(f'<g font-family="{FONT}" font-size="13" fill="none" xml:space="preserve">')
    print("\n".join(item for item in foregrounds if item))
    print("</g></svg>")


main()
