"""Every time limit, from lib/both/limits.sh, which the scripts source and which says units and reasons."""

import re
from types import SimpleNamespace

from .messages import LIB


def read_limits():
    """Return the limits by their names, as whole numbers. Raises OSError when the file is not there."""
    text = (LIB / "both/limits.sh").read_text(encoding="utf-8")
    return SimpleNamespace(**{name: int(number) for name, number in re.findall(r"(?m)^([A-Z_]+)=([0-9]+)$", text)})


LIMITS = read_limits()
