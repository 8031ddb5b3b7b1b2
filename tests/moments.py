"""The time of day: how lab says it, and a whole run that begins at another one."""

import os
import re
import time
from datetime import datetime, timedelta

SAID = r"(?:\d{4}-\d\d-\d\d )?\d\d:\d\d"
"""A regular expression for a time as lab says it: 14:05, and on another day 2026-11-23 14:05."""


def minutes_until(said):
    """Return the minutes from now until a time that lab has just said; a day that it ought to have said is missed."""
    now = datetime.now()
    if " " in said:
        found = [datetime.strptime(said, "%Y-%m-%d %H:%M")]
    else:
        today = datetime.strptime(f"{now:%Y-%m-%d} {said}", "%Y-%m-%d %H:%M")
        # said just before midnight, and read just after it
        found = [today, today - timedelta(days=1)]
    return min((round((moment - now).total_seconds() / 60) for moment in found), key=abs)


def begin_at_the_time_that_is_asked_for():
    """Set the time zone in which it is now what PASSERELLE_CLUSTER_CLOCK says, such as 23:50."""
    clock = os.environ.pop("PASSERELLE_CLUSTER_CLOCK", "")
    if not clock:
        return
    if not re.fullmatch(r"([01]\d|2[0-3]):[0-5]\d", clock):
        raise SystemExit(f"PASSERELLE_CLUSTER_CLOCK: “{clock}” is no time of day; for example: 23:50")
    now = time.gmtime()
    ahead = (60 * int(clock[:2]) + int(clock[3:]) - 60 * now.tm_hour - now.tm_min + 720) % 1440 - 720
    # POSIX counts westwards
    os.environ["TZ"] = f"<tests>{'-' if ahead > 0 else ''}{abs(ahead) // 60}:{abs(ahead) % 60:02}"
    time.tzset()
