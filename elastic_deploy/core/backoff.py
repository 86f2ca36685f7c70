"""How long to wait before an engine is started again."""

FIRST = 1.0
"""Seconds before the second attempt: an engine that ended once is most often well the next time."""

LONGEST = 60.0
"""Seconds at the most: as long as one start of an engine takes, so waiting longer would save nothing."""

STABLE = 60.0
"""An engine that has served for so many seconds had started well: its end begins a new row of failures."""


def pause(failures: int) -> float:
    """Seconds to wait after so many failures in a row (at least one): 1, 2, 4, ... 60."""
    return float(min(LONGEST, FIRST * 2 ** min(failures - 1, 10)))
