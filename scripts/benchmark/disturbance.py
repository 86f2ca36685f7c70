"""What a kill did to the clients: pure functions from the stories of their requests to a summary.

Used by scripts/bench-doors and by the end-to-end tests, with what `streams` has noted.
"""

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from statistics import median

from scripts.benchmark.streams import Stream

Texts = Mapping[int, frozenset[str]]
"""For each question, by its number: the texts of an undisturbed run. One, where the engines repeat themselves."""


@dataclass(frozen=True, slots=True)
class Disturbance:
    """The summary of a run; all times are seconds.

    `failed` got no text at all, `cut` some and then an error or no end; `errors` says how often which came. `differing`
    ended well, with another text than an undisturbed run. `in_flight` had been sent at the moment of the kill and not
    ended; of these `mid_answer` had got text. `stall` is the longest silence within an answer, `first_text` the longest
    wait for an answer's first text, `median` and `p99` are of whole answers that came. `failing_stopped` is how long
    after the kill the last request that failed or was cut came to its end, None where there was none.
    """

    requests: int
    failed: int
    cut: int
    errors: dict[str, int]
    differing: int
    in_flight: int
    mid_answer: int
    stall: float
    first_text: float
    median: float
    p99: float
    failing_stopped: float | None

    @property
    def harmed(self) -> int:
        """Requests whose clients did not get what they would have got without the kill."""
        return self.failed + self.cut + self.differing


def undisturbed(streams: Iterable[Stream]) -> Texts:
    """The texts to compare with. Raises ValueError where a request failed: then the run was not undisturbed."""
    texts: dict[int, set[str]] = defaultdict(set)
    for stream in streams:
        if stream.error:
            raise ValueError(f"A request failed with nothing killed: {stream.error}.")
        texts[stream.question].add(stream.text)
    return {question: frozenset(found) for question, found in texts.items()}


def disturbance(streams: Sequence[Stream], killed_at: float, expected: Texts) -> Disturbance:
    """Sum up a run in which something was killed at `killed_at`, seconds since the epoch."""
    broken = [stream for stream in streams if stream.error]
    whole = [stream for stream in streams if not stream.error]
    seconds = sorted(stream.seconds for stream in whole)
    flying = [stream for stream in streams if stream.sent_at <= killed_at < stream.ended_at]
    return Disturbance(
        requests=len(streams),
        failed=sum(stream.first_text is None for stream in broken),
        cut=sum(stream.first_text is not None for stream in broken),
        errors=dict(Counter(stream.error for stream in broken)),
        differing=sum(stream.text not in expected.get(stream.question, ()) for stream in whole),
        in_flight=len(flying),
        mid_answer=sum(_had_text(stream, killed_at) for stream in flying),
        stall=round(max((stream.stall for stream in streams), default=0.0), 3),
        first_text=round(max((stream.first_text or 0.0 for stream in streams), default=0.0), 3),
        median=round(median(seconds), 3) if seconds else 0.0,
        p99=round(seconds[int(len(seconds) * 0.99)], 3) if seconds else 0.0,
        failing_stopped=round(max(stream.ended_at for stream in broken) - killed_at, 3) if broken else None,
    )


def _had_text(stream: Stream, at: float) -> bool:
    return stream.first_text is not None and stream.sent_at + stream.first_text <= at
