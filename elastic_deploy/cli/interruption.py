"""How a command is broken off: by Ctrl-C, a KeyboardInterrupt, or by SIGTERM, a kind of it that asks nobody."""

import signal
from types import FrameType


class Terminated(KeyboardInterrupt):
    """SIGTERM: like Ctrl-C, but there is nobody to ask."""


def raise_on_sigterm() -> None:
    """From now on SIGTERM raises Terminated. Called once, by the console script."""
    signal.signal(signal.SIGTERM, _on_sigterm)


def _on_sigterm(_number: int, _frame: FrameType | None) -> None:
    raise Terminated
