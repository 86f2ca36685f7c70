"""Durations as people write them (`90`, `90s`, `30m`, `2h`), and as they read them; and a time of day.

Used by `planning` for settings and flags, and by whoever prints a wait. Knows nothing of clocks.
"""

import math
import re
from datetime import UTC, datetime

_UNITS = {"": 1, "s": 1, "m": 60, "h": 3600, "d": 86400}
_WRITTEN = re.compile(r"(?P<amount>\d+(\.\d+)?)\s*(?P<unit>[smhd]?)")
_FORMS = "write seconds as 90 or 90s, minutes as 30m, hours as 2h"


def parse_duration(text: str, *, none_allowed: bool = False) -> float | None:
    """Seconds in `text`; None, meaning without end, for the word `none` where `none_allowed`.

    Raises ValueError with a sentence that says what may be written instead. Zero and negative durations are errors:
    nothing here waits for no time.
    """
    written = text.strip().lower()
    if written == "none" and none_allowed:
        return None
    match = _WRITTEN.fullmatch(written)
    forms = f"{_FORMS}, or none for no limit" if none_allowed else _FORMS
    if match is None:
        raise ValueError(f"{text!r} is no duration: {forms}")
    seconds = float(match["amount"]) * _UNITS[match["unit"]]
    if not 0 < seconds < math.inf:
        raise ValueError(f"{text!r} is no duration that one can wait: it must be longer than 0; {forms}")
    return seconds


def format_duration(seconds: float | None) -> str:
    """`seconds` in its two largest units (`1h 5m`, `2m 3s`, `47s`, `2.5s`); `none` for None."""
    if seconds is None or math.isinf(seconds):
        return "none"
    if seconds < 10 and round(seconds, 1) != round(seconds):
        return f"{seconds:.1f}s"
    left = round(seconds)
    parts = []
    for unit in "dhm":
        amount, left = divmod(left, _UNITS[unit])
        if amount:
            parts.append(f"{amount}{unit}")
    if left or not parts:
        parts.append(f"{left}s")
    return " ".join(parts[:2])


def clock(at: float) -> str:
    """The time of day of `at`, in seconds since the epoch, for a person: the same for all, wherever they are."""
    return datetime.fromtimestamp(at, UTC).strftime("%H:%M:%S UTC")
