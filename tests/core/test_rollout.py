"""Who stays, goes, changes and comes in every situation of a change, and what the deployment asks for meanwhile."""

from dataclasses import replace

import pytest

from elastic_deploy.core.rollout import REPLACED
from elastic_deploy.core.roster import asked_gpus, is_done, most_gpus, proven, rostered
from elastic_deploy.model.memory import DeploymentMemory
from elastic_deploy.model.spec import DeploymentSpec

from .rollout_words import MID, NEW, OLD, changing, replica, roster, shaped
from .scenes import NOW, deployment, serving

SURGES: dict[str, tuple[int, int, tuple[str, ...], list[str]]] = {
    "2-2: one new beside the two": (2, 2, ("r0 old serves", "r1 old serves"), ["r0 old", "r1 old", "r2 new"]),
    "2-2: it starts": (2, 2, ("r0 old serves", "r1 old serves", "r2 new starts"), ["r0 old", "r1 old", "r2 new"]),
    "2-2: it serves, an old one goes": (
        2,
        2,
        ("r0 old serves", "r1 old serves", "r2 new serves"),
        ["r0 old", "r1 old replaced", "r2 new"],
    ),
    "2-2: the old one is gone, the next comes": (
        2,
        2,
        ("r0 old serves", "r2 new serves"),
        ["r0 old", "r1 new", "r2 new"],
    ),
    "2-2: both serve, the last old one goes": (
        2,
        2,
        ("r0 old serves", "r1 new serves", "r2 new serves"),
        ["r0 old replaced", "r1 new", "r2 new"],
    ),
    "1-1: one beside the other": (1, 1, ("r0 old serves",), ["r0 old", "r1 new"]),
    "1-1: it serves": (1, 1, ("r0 old serves", "r1 new serves"), ["r0 old replaced", "r1 new"]),
    "3-1: the three stay for the first": (
        3,
        1,
        ("r0 old serves", "r1 old serves", "r2 old serves"),
        ["r0 old", "r1 old", "r2 old", "r3 new"],
    ),
    "3-1: when it serves all go": (
        3,
        1,
        ("r0 old serves", "r1 old serves", "r2 old serves", "r3 new serves"),
        ["r0 old replaced", "r1 old replaced", "r2 old replaced", "r3 new"],
    ),
    "1-3: one beside the other": (1, 3, ("r0 old serves",), ["r0 old", "r1 new"]),
    "1-3: it serves": (1, 3, ("r0 old serves", "r1 new serves"), ["r0 old replaced", "r1 new"]),
    "1-3: the rest comes together": (1, 3, ("r1 new serves",), ["r0 new", "r1 new", "r2 new"]),
    "an old one that died is not missed once a new one serves": (
        2,
        2,
        ("r0 old serves", "r1 old broke", "r2 new serves"),
        ["r0 old", "r1 old replaced", "r2 new"],
    ),
    "an old one that died comes back while the new one starts": (
        2,
        2,
        ("r0 old serves", "r1 old broke", "r2 new starts"),
        ["r0 old", "r1 old", "r2 new"],
    ),
    "a new one that died is made up for by the old": (
        2,
        2,
        ("r0 old serves", "r1 old leaving", "r2 new broke"),
        ["r0 old", "r1 old", "r2 new"],
    ),
    "fewer new ones are wanted in the middle": (
        2,
        1,
        ("r0 old serves", "r1 new serves", "r2 new starts"),
        ["r0 old replaced", "r1 new", "r2 new surplus"],
    ),
    "changed in place so far, and serving what was": (
        2,
        2,
        ("r0 old serves", "r1 old>new drains"),
        ["r0 old", "r1 new"],
    ),
}


@pytest.mark.parametrize("case", SURGES)
def test_with_a_surge(case: str) -> None:
    before, after, words, expected = SURGES[case]
    assert roster(changing(shaped(OLD, before), shaped(NEW, after), surge=True), *words) == expected


IN_PLACE: dict[str, tuple[int, int, tuple[str, ...], list[str]]] = {
    "2-2: the highest is changed": (2, 2, ("r0 old serves", "r1 old serves"), ["r0 old", "r1 new"]),
    "2-2: while it drains, the other stays": (2, 2, ("r0 old serves", "r1 old>new drains"), ["r0 old", "r1 new"]),
    "2-2: while it starts, the other stays": (2, 2, ("r0 old serves", "r1 new starts"), ["r0 old", "r1 new"]),
    "2-2: it serves, the other is changed": (2, 2, ("r0 old serves", "r1 new serves"), ["r0 new", "r1 new"]),
    "2-2: what does not serve is changed first": (2, 2, ("r0 old ended", "r1 old serves"), ["r0 new", "r1 old"]),
    "1-1: it is changed": (1, 1, ("r0 old serves",), ["r0 new"]),
    "3-1: the highest goes first": (
        3,
        1,
        ("r0 old serves", "r1 old serves", "r2 old serves"),
        ["r0 old", "r1 old", "r2 old surplus"],
    ),
    "3-1: while one goes nothing else does": (
        3,
        1,
        ("r0 old serves", "r1 old serves", "r2 old leaving"),
        ["r0 old", "r1 old", "r2 old leaving"],
    ),
    "3-1: the last one is changed": (3, 1, ("r0 old serves",), ["r0 new"]),
    "1-3: a new one comes where there is room": (1, 3, ("r0 old serves",), ["r0 old", "r1 new"]),
    "1-3: while it starts nothing else is done": (1, 3, ("r0 old serves", "r1 new starts"), ["r0 old", "r1 new"]),
    "1-3: then the next": (1, 3, ("r0 old serves", "r1 new serves"), ["r0 old", "r1 new", "r2 new"]),
    "1-3: then the old one is changed": (
        1,
        3,
        ("r0 old serves", "r1 new serves", "r2 new serves"),
        ["r0 new", "r1 new", "r2 new"],
    ),
    "1-3: nothing old is left, the rest comes together": (1, 3, ("r0 new serves",), ["r0 new", "r1 new", "r2 new"]),
    "a new one that died is waited for": (2, 2, ("r0 old serves", "r1 new broke"), ["r0 old", "r1 new"]),
    "an old one that died is the next": (
        3,
        3,
        ("r0 old broke", "r1 old serves", "r2 new serves"),
        ["r0 new", "r1 old", "r2 new"],
    ),
    "fewer new ones are wanted in the middle": (
        2,
        1,
        ("r0 new serves", "r1 new starts"),
        ["r0 new", "r1 new surplus"],
    ),
}


@pytest.mark.parametrize("case", IN_PLACE)
def test_in_place(case: str) -> None:
    before, after, words, expected = IN_PLACE[case]
    assert roster(changing(shaped(OLD, before), shaped(NEW, after), surge=False), *words) == expected


BETWEEN: dict[str, tuple[bool, tuple[str, ...], list[str]]] = {
    "what serves of the middle one is spared": (
        True,
        ("r0 old serves", "r1 mid serves"),
        ["r0 old", "r1 mid", "r2 new"],
    ),
    "what does not serve of it goes at once": (
        True,
        ("r0 old serves", "r1 old serves", "r2 mid starts"),
        ["r0 old", "r1 old", "r2 mid stray"],
    ),
    "the old ones are spared before it": (
        True,
        ("r0 mid serves", "r1 old serves", "r2 old leaving"),
        ["r0 mid replaced", "r1 old", "r2 old"],
    ),
    "but not before it serves": (
        True,
        ("r0 mid serves", "r1 mid serves", "r2 old broke"),
        ["r0 mid", "r1 mid", "r2 old replaced"],
    ),
    "it goes for the first new one": (
        True,
        ("r0 old serves", "r1 mid serves", "r2 new serves"),
        ["r0 old", "r1 mid replaced", "r2 new"],
    ),
    "in place it is changed before the old ones": (False, ("r0 mid serves", "r1 old serves"), ["r0 new", "r1 old"]),
    "in place what does not serve of it goes": (False, ("r0 old serves", "r1 mid starts"), ["r0 old", "r1 mid stray"]),
    "in place a new one comes where that was": (False, ("r0 old serves",), ["r0 old", "r1 new"]),
    "in place what was drained for it serves on": (False, ("r0 old serves", "r1 old>mid drains"), ["r0 old", "r1 new"]),
}


@pytest.mark.parametrize("case", BETWEEN)
def test_a_third_version_in_the_middle_of_a_change(case: str) -> None:
    surge, words, expected = BETWEEN[case]
    assert roster(changing(shaped(OLD, 2), shaped(NEW, 2), surge=surge, mid=True), *words) == expected


def test_a_version_between_the_two_is_spared_where_there_is_room() -> None:
    for size, gone in ((2, [""]), (3, [REPLACED])):
        mid = shaped(MID, 2, size=size)
        spec = replace(shaped(NEW, 3), surge=True, former=replace(shaped(OLD, 3), former=mid))
        large = replace(replica("r1 mid serves"), fingerprint=mid.fingerprint, version=mid.fingerprint)
        chosen = rostered(spec, deployment(replica("r0 old serves"), large), spec.fingerprint, NOW, blind=False)
        assert [r.leaving for r in chosen.replicas[:2]] == ["", *gone]


def test_a_version_that_nobody_knows_goes() -> None:
    for surge in (True, False):
        spec = changing(shaped(OLD, 2), shaped(NEW, 2), surge=surge)
        assert roster(spec, "r0 old serves", "r1 mid serves") == ["r0 old", "r1 mid stray"]


GOING_BACK: dict[str, tuple[bool, tuple[str, ...], list[str]]] = {
    "with a surge, what was to go stays": (
        True,
        ("r0 new serves", "r1 new leaving", "r2 old serves"),
        ["r0 new", "r1 new", "r2 old replaced"],
    ),
    "with a surge, what is gone comes again": (
        True,
        ("r0 new serves", "r2 old serves"),
        ["r0 new", "r1 new", "r2 old"],
    ),
    "in place, what drains serves on, and the other is changed back": (
        False,
        ("r0 old serves", "r1 new>old drains"),
        ["r0 new", "r1 new"],
    ),
}


@pytest.mark.parametrize("case", GOING_BACK)
def test_going_back_in_the_middle(case: str) -> None:
    """What is called new here is what was before: the user wants that again, in the middle of a change to the old."""
    surge, words, expected = GOING_BACK[case]
    assert roster(changing(shaped(OLD, 2), shaped(NEW, 2), surge=surge), *words) == expected


RESTORING: dict[str, tuple[bool, tuple[str, ...], list[str]]] = {
    "with a surge, what did not come up goes": (
        True,
        ("r0 new serves", "r1 new serves", "r2 old ended"),
        ["r0 new", "r1 new", "r2 old stray"],
    ),
    "with a surge, what came up of it serves until enough is restored": (
        True,
        ("r0 new serves", "r2 old serves", "r3 old ended"),
        ["r0 new", "r2 old", "r3 old stray"],
    ),
    "with a surge, then the rest is restored beside it": (
        True,
        ("r0 new serves", "r2 old serves"),
        ["r0 new", "r1 new", "r2 old"],
    ),
    "in place, what did not come up is changed back at once": (
        False,
        ("r0 new serves", "r1 old ended"),
        ["r0 new", "r1 new"],
    ),
    "in place, all of it at once if nothing of it serves": (
        False,
        ("r0 old ended", "r1 old waits"),
        ["r0 new", "r1 new"],
    ),
    "in place, what came up of it is changed back when the first is restored": (
        False,
        ("r0 old serves", "r1 old ended"),
        ["r0 old", "r1 new"],
    ),
    "in place, what is too much goes": (
        False,
        ("r0 new serves", "r1 new serves", "r2 old ended"),
        ["r0 new", "r1 new", "r2 old surplus"],
    ),
}


@pytest.mark.parametrize("case", RESTORING)
def test_restoring(case: str) -> None:
    """What is called old here is the change that was given up."""
    surge, words, expected = RESTORING[case]
    spec = changing(shaped(OLD, 2), shaped(NEW, 2), surge=surge, restoring=True)
    assert roster(spec, *words) == expected


class TestSizes:
    """Replicas of another size: a roster that asks for no more GPUs than there is room for."""

    SMALL, LARGE = shaped(OLD, 2, 2), shaped(NEW, 2, 4)

    def walked(self, spec: DeploymentSpec, memory: DeploymentMemory) -> list[int]:
        """The GPUs that it asks for until the change is done, if every replica comes up and goes at once."""
        asked = []
        for _ in range(12):
            memory = rostered(spec, memory, spec.fingerprint, NOW, blind=False)
            asked.append(asked_gpus(spec, memory))
            if is_done(spec, memory, spec.fingerprint):
                return asked
            done = (replace(r, fingerprint=r.version, proven_at=NOW, engine_ended=False) for r in memory.staying)
            memory = replace(memory, replicas=tuple(done))
        raise AssertionError("the change is never done")

    def small(self, *, surge: bool) -> tuple[DeploymentSpec, DeploymentMemory]:
        """The change from small to large replicas, at its beginning."""
        spec = replace(self.LARGE, surge=surge, former=self.SMALL)
        serves = serving(fingerprint=self.SMALL.fingerprint, version=self.SMALL.fingerprint)
        return spec, deployment(serves, replace(serves, id="r1"))

    def test_with_a_surge(self) -> None:
        spec, memory = self.small(surge=True)
        assert most_gpus(spec) == 10
        assert self.walked(spec, memory) == [8, 6, 10, 8, 8]

    def test_in_place(self) -> None:
        spec, memory = self.small(surge=False)
        assert most_gpus(spec) == 8
        assert self.walked(spec, memory) == [6, 8, 8]

    @pytest.mark.parametrize("surge", [True, False])
    def test_never_more_than_the_most(self, surge: bool) -> None:
        spec, memory = self.small(surge=surge)
        crowd = tuple(replace(serving(version=spec.fingerprint), id=f"r{n}") for n in range(9))
        assert asked_gpus(spec, replace(memory, replicas=crowd)) == most_gpus(spec)

    @pytest.mark.parametrize("surge", [True, False])
    def test_where_nothing_is_remembered_the_larger_one(self, surge: bool) -> None:
        spec, memory = self.small(surge=surge)
        assert asked_gpus(spec, replace(memory, replicas=())) == 8


@pytest.mark.parametrize(
    ("words", "done", "serve"),
    [
        (("r0 new serves", "r1 new serves"), True, 2),
        (("r0 new serves", "r1 new starts"), False, 1),
        (("r0 new serves", "r1 old>new drains"), False, 1),
        (("r0 new serves", "r1 old serves"), False, 1),
        (("r0 new serves", "r1 new serves", "r2 old left"), False, 2),
        (("r0 new serves", "r1 new serves", "r2 new leaving"), False, 2),
        (("r0 new serves",), False, 1),
    ],
    ids=["all serve", "one starts", "one serves what was", "one is old", "one old goes", "one goes", "one is missing"],
)
def test_a_change_is_done_when_nothing_else_is_left_and_all_serve(
    words: tuple[str, ...], done: bool, serve: int
) -> None:
    spec = changing(shaped(OLD, 2), shaped(NEW, 2), surge=True)
    memory = deployment(*map(replica, words))
    assert (is_done(spec, memory, spec.fingerprint), proven(spec, memory)) == (done, serve)
