"""An instance's states and how long EC2 takes between them. Pure: the state, since when, and now."""

from dataclasses import dataclass

CODES = {"pending": 0, "running": 16, "shutting-down": 32, "terminated": 48, "stopping": 64, "stopped": 80}
FOLLOWS = {"pending": "running", "shutting-down": "terminated", "stopping": "stopped", "terminated": "forgotten"}


@dataclass(frozen=True)
class Timing:
    """Seconds that an instance spends in each state that it leaves by itself, and that its status checks take.

    EC2 needs some 5 to 20 s for `pending`, tens of seconds for `shutting-down` and `stopping`, minutes for its status
    checks, and lists a terminated instance for about an hour. The tests' times are shorter, but not nothing.
    """

    pending: float = 1.0
    shutting_down: float = 2.0
    stopping: float = 2.0
    terminated: float = 3600.0
    checks: float = 2.0


def due(state: str, since: float, now: float, timing: Timing) -> str | None:
    """The state that follows, once its time has come; `forgotten` is no longer listed."""
    if state not in FOLLOWS:
        return None
    seconds: float = getattr(timing, state.replace("-", "_"))
    return FOLLOWS[state] if now - since >= seconds else None
