"""What is awaited, for how long: one line at the bottom of a terminal, a line now and then where there is none."""

import re
import sys
import time
from datetime import datetime

from both.limits import LIMITS
from both.messages import clear_bottom, columns, message, put_at_bottom


class Waiting:
    """What is awaited, shown after LIMITS.WAITING_IS_SHOWN seconds: on a terminal every second, else at a change."""

    def __init__(self):
        self.since = self.said = time.monotonic()
        self.key = self.shown = ""
        # while somebody else asks something on the terminal
        self.quiet = False

    def show(self, key, **values):
        """Say what is awaited now; {time} in the text is how long the waiting has lasted."""
        seconds = time.monotonic() - self.since
        if seconds < LIMITS.WAITING_IS_SHOWN or self.quiet:
            return
        what = message(key, **values, time="{time}")
        if sys.stdout.isatty():
            self.stand(key, time=clock(seconds), **values)
        elif what == self.shown or (key == self.key and time.monotonic() - self.said < LIMITS.PROGRESS_LINE):
            return
        else:
            print(message(key, **values, time=clock(seconds)), flush=True)
            self.said = time.monotonic()
        self.key, self.shown = key, what

    def restart(self):
        """From now on something else is awaited."""
        self.done()
        self.since, self.key, self.shown = time.monotonic(), "", ""

    def stand(self, key, **values):
        """Show how things stand, on a terminal only."""
        if sys.stdout.isatty():
            put_at_bottom(in_one_row(key, columns(sys.stdout) - 1, **values))

    def done(self):
        """Nothing is awaited any more; say and warn need not be told."""
        clear_bottom()


def in_one_row(key, width, **values):
    """Return a text that is no wider, if that can be: what others have named or said gives way, and no time does."""
    text = message(key, **values).replace("\n", " ")
    names = [name for name in values if name not in ("time", "start", "left")]
    if len(text) > width and names:
        name = max(names, key=lambda name: len(str(values[name])))
        length = len(str(values[name])) - (len(text) - width) - 1
        values[name] = f"{str(values[name])[: max(length, 1)]}…"
        text = message(key, **values).replace("\n", " ")
    return text


def clock(seconds):
    """Return a time as 0:05, 12:00 or 1:02:03."""
    minutes, seconds = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{seconds:02}" if hours else f"{minutes}:{seconds:02}"


def clock_time(seconds):
    """Return a time (seconds since 1970, as text) as 09:05 or 9 h 05, on another day with its date; "" for none."""
    try:
        then = datetime.fromtimestamp(int(seconds))
    except (OSError, OverflowError, ValueError):
        # no number, or later than this computer can count
        return ""
    key = "clock" if then.date() == datetime.now().date() else "clock_on_day"
    day, month = message("days").split()[then.day - 1], message("months").split()[then.month - 1]
    hour = message("hours").split()[then.hour]
    return message(key, year=then.year, month=month, day=day, hour=hour, minute=f"{then:%M}")


def is_time(text):
    """Return whether a text can be seconds since 1970: also those of the year 5000, but no other digits than ours."""
    return bool(re.fullmatch("[0-9]{1,11}", text))


def hours_and_minutes(seconds):
    """Return the time left as 2 h 05 min or 12 min, and never less than nothing."""
    hours, minutes = divmod(max(0, int(seconds) // 60), 60)
    if not hours:
        return message("minutes", minutes=minutes)
    return message("hours_and_minutes", hours=hours, minutes=f"{minutes:02}")
