"""How many replicas a deployment may have, and by what its load decides between them: values alone."""

import re
from dataclasses import dataclass

_WRITTEN = re.compile(r"(?P<least>\d+)(:(?P<most>\d+))?")


@dataclass(frozen=True, slots=True)
class ReplicaRange:
    """From `least` to `most` replicas, as the load wants it."""

    least: int
    most: int

    def __str__(self) -> str:
        """As it is written on the command line."""
        return f"{self.least}:{self.most}"


@dataclass(frozen=True, slots=True)
class Scaling:
    """A deployment of which the load decides how many replicas there are; the most of them is its shape's.

    `requests_per_replica` is how many requests a replica is meant to have at once, running and waiting. More is made
    where there have been more for `grow_after` seconds, less where fewer replicas would have done for `shrink_after`.
    """

    least: int
    requests_per_replica: int = 8
    grow_after: float = 30.0
    shrink_after: float = 300.0


def parse_replicas(text: str) -> int | ReplicaRange:
    """`3`, or `1:3` for a range. Raises ValueError with a sentence that says what may be written."""
    match = _WRITTEN.fullmatch(text.strip())
    if match is None:
        raise ValueError(f"{text!r} is no number of replicas: write 2, or 1:3 for as many as the load wants")
    least = int(match["least"])
    return least if match["most"] is None else ReplicaRange(least, int(match["most"]))
