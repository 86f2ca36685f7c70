"""When it is said that no pool gives anything, and when no more."""

from dataclasses import replace

import pytest

from elastic_deploy.core.decide import decide
from elastic_deploy.core.exhausted import LONG, exhausted, with_exhaustion
from elastic_deploy.core.explain import reason
from elastic_deploy.model.memory import ReplicaMemory, Rest
from elastic_deploy.model.pool import Pool
from elastic_deploy.model.spec import ClusterSpec, DeploymentSpec

from .scenes import NOW, SPEC, deployment, fresh, memory, serving, snapshot

BEGAN = NOW - LONG
TWO = replace(SPEC, pools=(Pool("a", ("gpu-a",)), Pool("b", ("gpu-b",))), wait_timeout=None)
WAITS = fresh(pool=None)


def rest(pool: str, since: float = NOW - 5, failures: int = 4) -> Rest:
    """A pool that has failed."""
    return Rest(pool, failures, since, NOW + 50, "the cloud refused it")


BOTH = (rest("a"), rest("b", failures=1))

CASES: dict[str, tuple[DeploymentSpec, ReplicaMemory, float, tuple[Rest, ...], bool]] = {
    "all have failed for an hour": (TWO, WAITS, BEGAN, BOTH, True),
    "while one is asked again": (TWO, fresh(pool="a", pool_since=NOW - 5), BEGAN, BOTH, True),
    "not for an hour": (TWO, WAITS, BEGAN + 1, BOTH, False),
    "one has not failed": (TWO, WAITS, BEGAN, BOTH[:1], False),
    "one failed before this wait": (TWO, WAITS, BEGAN, (BOTH[0], rest("b", BEGAN - 1)), False),
    "nothing waits": (TWO, serving(pool="a"), BEGAN, BOTH, False),
    "no pools": (replace(TWO, pools=()), WAITS, BEGAN, (rest(""),), False),
}


@pytest.mark.parametrize("name", CASES)
def test_when_it_is_said(name: str) -> None:
    spec, replica, began, rests, expected = CASES[name]
    known = deployment(replica, waiting_since=began, rests=rests)
    assert bool(exhausted(spec, known, NOW)) is expected
    after, events = with_exhaustion(spec, known, NOW)
    assert [event.kind for event in events] == ["wait.exhausted"] * expected
    assert with_exhaustion(spec, after, NOW) == (after, ()), "once"


def test_the_words_have_the_time_and_the_counts_and_the_wait_goes_on() -> None:
    known = deployment(WAITS, waiting_since=BEGAN, rests=BOTH)
    done = decide(ClusterSpec((TWO,)), snapshot(nodes=()), memory(known), NOW)
    (event,) = [event for event in done.why if event.kind == "wait.exhausted"]
    assert "in 1h no pool has given all GPUs of a replica (a 4 times, b 1 time in a row)" in event.message
    (after,) = done.memory.deployments
    assert after.failure is None
    assert "a 4 times, b 1 time in a row" in reason(TWO, after, snapshot(nodes=()), NOW)


def test_it_may_be_said_again_after_a_pool_has_given() -> None:
    known = deployment(serving(pool="a"), waiting_since=BEGAN, exhausted=True)
    after, events = with_exhaustion(TWO, known, NOW)
    assert (after.exhausted, events) == (False, ())
