"""What a node costs while it serves nobody."""

import pytest

from elastic_deploy.core.steps import Kind, Step, Track
from elastic_deploy.core.waiting_cost import unserved

NOW = 1000.0


def node(*steps: Step, replicas: tuple[str, ...] = ("chat/r0",)) -> Track:
    """A node of which the journal tells these steps."""
    return Track(Kind.NODE, "i-1", "gpu", steps, replicas=replicas)


def replica(*steps: Step, name: str = "chat/r0") -> Track:
    """A replica of which the journal tells these steps."""
    return Track(Kind.REPLICA, name, "", steps)


JOINED = Step("joined", 100, 200, passed=True)
PLACED = Step("placed", 200)
CASES: dict[str, tuple[Track, tuple[Track, ...], float]] = {
    "an order that the cloud has not taken costs nothing": (node(Step("asked", 100)), (), 0),
    "from then on all of it, though it has not joined": (node(Step("asked", 50, 100), Step("launching", 100)), (), 900),
    "what waits for the others": (node(JOINED, PLACED), (replica(Step("gathering", 200)),), 900),
    "not while its replica serves": (
        node(JOINED, PLACED),
        (replica(Step("starting", 200, 300), Step("ready", 300)),),
        200,
    ),
    "nor while that finishes what it was asked": (
        node(JOINED, PLACED),
        (replica(Step("ready", 300, 500), Step("draining", 500, 600), Step("ending", 600)),),
        600,
    ),
    "its replica serves elsewhere before it joins it": (node(JOINED, PLACED), (replica(Step("ready", 0, 150)),), 900),
    "two replicas that serve at once count once": (
        node(JOINED, PLACED, replicas=("chat/r0", "chat/r1")),
        (replica(Step("ready", 200, 500)), replica(Step("ready", 400, 600), name="chat/r1")),
        500,
    ),
    "another replica's serving is not its own": (
        node(JOINED, PLACED),
        (replica(Step("ready", 200), name="b/r0"),),
        900,
    ),
    "one that is gone costs nothing more": (node(JOINED, Step("placed", 200, 300)), (), 200),
}


@pytest.mark.parametrize(("of", "replicas", "seconds"), CASES.values(), ids=list(CASES))
def test_seconds_without_serving(of: Track, replicas: tuple[Track, ...], seconds: float) -> None:
    assert unserved(of, {track.name: track for track in replicas}, NOW) == seconds
