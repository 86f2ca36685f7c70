"""Which replicas there are without a change, what is asked for, and which version each has."""

from dataclasses import replace

import pytest

from elastic_deploy.core.roster import asked_gpus, rostered, spec_for, versions_of

from .rollout_words import NAMES, NEW, OLD, VERSIONS, changing, replica, roster, shaped
from .scenes import NOW, SPEC, deployment, serving

PLAIN: dict[str, tuple[int, tuple[str, ...], list[str]]] = {
    "the first ones come together": (3, (), ["r0 new", "r1 new", "r2 new"]),
    "complete": (2, ("r0 new serves", "r1 new starts"), ["r0 new", "r1 new"]),
    "more": (3, ("r0 new serves",), ["r0 new", "r1 new", "r2 new"]),
    "more, in a gap": (2, ("r1 new serves",), ["r0 new", "r1 new"]),
    "fewer: the highest number goes": (1, ("r0 new serves", "r1 new serves"), ["r0 new", "r1 new surplus"]),
    "fewer: r10 is higher than r2": (1, ("r2 new serves", "r10 new serves"), ["r2 new", "r10 new surplus"]),
    "fewer: what does not serve goes first": (1, ("r0 new starts", "r1 new serves"), ["r0 new surplus", "r1 new"]),
    "fewer: what recovers goes first": (1, ("r0 new recovers", "r1 new serves"), ["r0 new surplus", "r1 new"]),
    "fewer: what never served goes before what did": (
        1,
        ("r0 new starts", "r1 new broke"),
        ["r0 new surplus", "r1 new"],
    ),
    "fewer: what waits goes before what starts": (1, ("r0 new waits", "r1 new starts"), ["r0 new surplus", "r1 new"]),
    "one that was to go is wanted after all": (2, ("r0 new serves", "r1 new leaving"), ["r0 new", "r1 new"]),
    "one that goes already goes for its first reason": (
        1,
        ("r0 new serves", "r1 new leaving"),
        ["r0 new", "r1 new leaving"],
    ),
    "another version with nothing to spare": (2, ("r0 old starts", "r1 old ended"), ["r0 new", "r1 new"]),
}


@pytest.mark.parametrize("case", PLAIN)
def test_without_a_former_version(case: str) -> None:
    replicas, words, expected = PLAIN[case]
    assert roster(shaped(NEW, replicas), *words) == expected


def test_without_a_change_its_shape_is_asked_for_whatever_is_remembered() -> None:
    many = deployment(*(serving(id=f"r{n}") for n in range(5)))
    assert [asked_gpus(SPEC, memory) for memory in (deployment(), many)] == [2, 2]


def test_the_blind_leave_it_as_it_is() -> None:
    memory = deployment(replica("r0 old serves"))
    for spec in (shaped(NEW, 3), changing(OLD, NEW, surge=True), changing(OLD, NEW, surge=False)):
        assert rostered(spec, memory, spec.fingerprint, NOW, blind=True) is memory


def test_a_new_replica_takes_no_name_that_an_engine_had() -> None:
    (new,) = rostered(NEW, deployment(generations=4), NEW.fingerprint, NOW, blind=False).replicas
    assert (new.generation, new.engine_ended, new.version) == (4, True, NEW.fingerprint)


def test_what_failed_as_another_version_counts_neither_against_this_one_nor_as_its_outage() -> None:
    memory = deployment(replace(replica("r0 old broke"), last_words="no"))
    spec = changing(OLD, NEW, surge=False)
    (changed,) = rostered(spec, memory, spec.fingerprint, NOW, blind=False).replicas
    assert (changed.failures, changed.retry_at, changed.ever_ready, changed.outage) == (0, 0.0, False, None)


def test_every_version_has_its_own_spec_and_what_is_unknown_the_present_one() -> None:
    spec = changing(OLD, NEW, surge=True, mid=True)
    assert [NAMES[version] for version in versions_of(spec)] == ["new", "old", "mid"]
    found = [spec_for(spec, VERSIONS[name]).engine_arguments[1] for name in ("old", "mid", "new", "")]
    assert found == ["1", "2", "3", "3"]
