"""What a terminal has shown, as an animated SVG: a picture for any page, without script, font or player.

Each row of the screen is a strip of all that it ever shows, behind a window of one row, and is moved on when the row
changes. So what stays is stored once, and 24 small animations show a session.
"""

import html
import re
from itertools import pairwise

import pyte

WIDTH, HEIGHT, BASELINE, MARGIN = 8.4, 18, 13, 12
"""A cell of the screen, where its letters stand, and what is around the screen: in pixels, for letters of 14."""
PITCH = HEIGHT + 2
"""From one row of a strip to the next: apart, for a window that a page makes smaller has a blurred edge."""
SHORTEST, END = 0.06, 4
"""What comes within so many seconds is one screen; so many the last one stays."""
INK, PAPER = "#d8dee9", "#1e222a"
# pyte's names (its brown is yellow); all of them are readable on PAPER
COLOURS = {
    "black": "#4c566a", "red": "#e06c75", "green": "#98c379", "brown": "#e5c07b", "blue": "#61afef",
    "magenta": "#c678dd", "cyan": "#56b6c2", "white": "#d8dee9",
}  # fmt: skip
COLOURS |= {f"bright{name}": colour for name, colour in COLOURS.items()} | {"brightyellow": "#e5c07b"}
# a secret of JupyterLab's has at least that many digits
TOKEN = re.compile(r"token=[0-9a-f]{8}|\b[0-9a-f]{40,}\b")


def frames(output, columns=80, rows=24):
    """Return [(seconds, screen)] for [(seconds, bytes)], what a terminal was sent; a screen is a tuple of row_of()s."""
    screen = pyte.Screen(columns, rows)
    stream, shown = pyte.ByteStream(screen), []
    for seconds, text in output:
        stream.feed(text)
        now = tuple(row_of(screen, number) for number in range(rows))
        if shown and seconds - shown[-1][0] < SHORTEST:
            shown[-1] = (shown[-1][0], now)
        elif not shown or now != shown[-1][1]:
            shown.append((seconds, now))
    return shown


def row_of(screen, number):
    """Return a row as a tuple of (column, cells, text, ink, paper, bold): what stands together and looks the same."""
    parts, cursor = [], None if screen.cursor.hidden or screen.cursor.y != number else screen.cursor.x
    for column in range(screen.columns):
        cell = screen.buffer[number][column]
        ink, paper = (COLOURS.get(name, f"#{name}") for name in (cell.fg, cell.bg))
        ink, paper = INK if cell.fg == "default" else ink, "" if cell.bg == "default" else paper
        if cell.reverse != (column == cursor):
            ink, paper = paper or PAPER, ink
        look = (ink, paper, cell.bold)
        start, cells, text, *before = parts[-1] if parts else (0, 0, "")
        # behind two spaces a part of its own begins: a picture keeps one
        if before == [*look] and not (text.endswith("  ") and cell.data.strip()):
            # the second cell of a wide letter has no text
            parts[-1] = (start, cells + 1, text + cell.data, *look)
        else:
            parts.append((column, 1, cell.data, *look))
    return tuple(part for part in parts if part[2].strip() or part[4])


def draw(shown, title, columns=80, rows=24):
    """Return the SVG of what frames() returns; raises ValueError where it would show a token."""
    lasts = shown[-1][0] + END
    strips, moves = [], []
    for number in range(rows):
        # every different row, in the order in which they come, and when which of them is there
        kinds = list(dict.fromkeys(screen[number] for _, screen in shown))
        steps = [(seconds, kinds.index(screen[number]) * PITCH) for seconds, screen in shown]
        steps = [steps[0], *(step for before, step in pairwise(steps) if step[1] != before[1])]
        stops = "".join(f"{100 * seconds / lasts:.6g}%{{transform:translateY({-top}px)}}" for seconds, top in steps[1:])
        moves.append(f"@keyframes r{number}{{0%{{transform:none}}{stops}}}.r{number}{{animation-name:r{number}}}")
        drawn = "".join(draw_row(row, place * PITCH) for place, row in enumerate(kinds))
        strips.append(f'<svg y="{number * HEIGHT}" height="{HEIGHT}"><g class="r{number}">{drawn}</g></svg>')
    width, height = columns * WIDTH + 2 * MARGIN, rows * HEIGHT + 2 * MARGIN
    picture = PICTURE.format(
        title=html.escape(title), width=f"{width:.6g}", height=height, ink=INK, paper=PAPER, margin=MARGIN,
        lasts=f"{lasts:.6g}", still=f"{lasts - 0.1:.6g}", moves="\n".join(moves), strips="\n".join(strips),
    )  # fmt: skip
    if found := TOKEN.search(picture):
        raise ValueError(f"the terminal has shown a token: {found[0]}")
    return picture


def draw_row(row, top):
    """Return a row's paper and letters, below each other at their place in a strip."""
    drawn = []
    for column, cells, text, ink, paper, bold in row:
        if paper:
            box = f'x="{column * WIDTH:.6g}" y="{top}" width="{cells * WIDTH:.6g}" height="{HEIGHT}"'
            drawn.append(f'<rect {box} fill="{paper}"/>')
        if word := text.strip():
            column, cells = column + len(text) - len(text.lstrip()), cells - len(text) + len(word)
            # whatever the font, the letters fill their cells
            place = f'x="{column * WIDTH:.6g}" y="{top + BASELINE}" textLength="{cells * WIDTH:.6g}"'
            look = f' fill="{ink}"' * (ink != INK) + ' font-weight="bold"' * bold
            drawn.append(f"<text {place}{look}>{html.escape(word, quote=False)}</text>")
    return "".join(drawn)


PICTURE = """\
<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{width}" height="{height}" fill="{ink}">
<title>{title}</title>
<style>
text{{font:14px ui-monospace,Menlo,Consolas,"DejaVu Sans Mono",monospace}}
g{{animation:{lasts}s step-end infinite}}
@media(prefers-reduced-motion:reduce){{g{{animation-delay:-{still}s;animation-play-state:paused}}}}
{moves}
</style>
<rect width="100%" height="100%" rx="8" fill="{paper}"/>
<svg x="{margin}" y="{margin}">
{strips}
</svg>
</svg>
"""
