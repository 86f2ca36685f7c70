"""Stop strings across a cut: text that came before it and text that comes after it can make up one stop string.

Pure; used by `telling`. The engine that continues sees the tokens before the cut as its prompt and looks for stop
strings only in what it adds, so it is told to hide nothing, and what to hide is decided here, by vLLM's own rule: all
but the last characters that could begin a stop string are let go, and the stop string that is complete first counts.
"""

from collections.abc import Sequence


class StopStrings:
    """The end of an answer's text, as far as stop strings can reach back from a cut.

    `sent` is what the client has seen, `unsent` what was kept from it; `shown` says whether the stop string itself
    belongs to the answer.
    """

    def __init__(self, stops: Sequence[str], shown: bool, sent: str, unsent: str) -> None:
        self._stops = stops
        self._shown = shown
        self._reach = max((len(stop) for stop in stops), default=1) - 1
        before = sent[-self._reach :] if self._reach else ""
        self._text = before + unsent
        self._sent = len(before)

    def feed(self, added: str, last: bool, may_stop: bool) -> tuple[str, str | None]:
        """The text to send now that `added` has come, and the stop string if it is complete.

        `last`: no more will come. `may_stop`: there are as many tokens as there have to be at least.
        """
        old = len(self._text)
        self._text += added
        found = self._first(old) if may_stop and added else None
        if found is not None:
            start, stop = found
            return self._text[self._sent : start + len(stop) if self._shown else start], stop
        end = len(self._text) if last or self._shown else max(self._sent, len(self._text) - self._reach)
        out = self._text[self._sent : end]
        kept = min(end, max(0, len(self._text) - self._reach))
        self._text, self._sent = self._text[kept:], end - kept
        return out, None

    def _first(self, old: int) -> tuple[int, str] | None:
        """Where the stop string begins that is complete first, of those that end in what is new."""
        found = [
            (start + len(stop), start, stop)
            for stop in self._stops
            if (start := self._text.find(stop, max(0, old - len(stop) + 1))) >= 0
        ]
        if not found:
            return None
        _, start, stop = min(found, key=lambda each: each[0])
        return start, stop
