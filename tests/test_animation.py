"""The recordings of docs/images: how they are drawn, and what they must not show."""

import re
from xml.etree import ElementTree

import animation
import pytest
from conftest import REPOSITORY

# what a terminal was sent, and when: a prompt, a command, what it prints, a line that is written anew, the next prompt
OUTPUT = [
    (0, b"$ "),
    (1, b"ls"),
    # half a screen, and the rest at once
    (2, b"\r\n\x1b[1;31m"),
    (2.01, "naïve\x1b[0m  a <b> & c\r\n".encode()),
    (3, b"1 s"),
    (4, b"\r2 s"),
    (4.5, b""),
    (6, b"\r1 s\r\n\x1b[?25l"),
]


def words(screen):
    """Return the rows of a screen that have letters in them, as text, with a bar between the parts."""
    rows = [[part[2].strip() for part in row if part[2].strip()] for row in screen]
    return ["|".join(parts) for parts in rows if parts]


def test_a_frame_is_what_the_screen_shows_from_then_on():
    shown = animation.frames(OUTPUT, columns=20, rows=6)
    listing = ["$ ls", "naïve|a <b> & c"]
    assert [(seconds, words(screen)) for seconds, screen in shown] == [
        (0, ["$"]),
        (1, ["$ ls"]),
        (2, listing),
        (3, [*listing, "1 s"]),
        (4, [*listing, "2 s"]),
        (6, [*listing, "1 s"]),
    ]
    # behind two spaces begins a part of its own
    red = animation.COLOURS["red"]
    assert shown[2][1][1] == ((0, 5, "naïve", red, "", True), (7, 13, "a <b> & c    ", animation.INK, "", False))
    # the cursor is a cell in reverse, and is hidden at the end
    assert shown[0][1][0][1] == (2, 1, " ", animation.PAPER, animation.INK, False)
    assert not [part for row in shown[-1][1] for part in row if part[4]]


def test_the_picture_stores_each_row_once_and_shows_it_at_its_times():
    picture = animation.draw(animation.frames(OUTPUT, columns=20, rows=6), "<demo>", columns=20, rows=6)
    root = ElementTree.fromstring(picture)
    assert [text for text in root.itertext() if text.strip()][0] == "<demo>"
    letters = [text.text for text in root.iter("{http://www.w3.org/2000/svg}text")]
    assert sorted(letters) == sorted(["$", "$ ls", "$ ls", "naïve", "a <b> & c", "1 s", "2 s", "1 s"])
    # ten seconds: six and the last screen's four; "1 s" stands below the empty row and the cursor, without it at the end
    (moves,) = re.findall(r"@keyframes r2\{(.*?)\}\.r2", picture)
    tops = [int(-float(top)) // animation.PITCH for top in re.findall(r"translateY\((\S+?)px\)", moves)]
    assert (re.findall(r"([\d.]+)%", moves), tops) == (["0", "20", "30", "40", "60"], [1, 2, 3, 4])


@pytest.mark.parametrize("shown", ["http://127.0.0.1:8888/lab?token=0123abcd", "0123456789abcdef" * 3])
def test_a_token_is_not_drawn(shown):
    with pytest.raises(ValueError, match="the terminal has shown a token"):
        animation.draw(animation.frames([(0, shown.encode())]), "demo")


@pytest.mark.parametrize("path", sorted((REPOSITORY / "docs/images").glob("*.svg")), ids=lambda path: path.name)
def test_a_recording_is_small_and_shows_nothing_that_is_not_for_all(path):
    picture = path.read_text(encoding="utf-8")
    root = ElementTree.fromstring(picture)
    assert len(picture.encode()) < 150_000
    assert not animation.TOKEN.search(picture)
    # it is the test cluster's laptop, and no developer's; nothing is fetched
    for home in re.findall(r"/home/(\w+)", picture):
        # the screen's edge may cut it
        assert "alice".startswith(home) or "student".startswith(home)
    assert "/root" not in picture
    assert not re.findall(r"<(?:script|image|use)|href=|@import|url\(", picture)
    text = "\n".join(text.text for text in root.iter("{http://www.w3.org/2000/svg}text"))
    assert "$ passerelle new " in text and "$ ./lab open" in text and "http://127.0.0.1:" in text
