"""How a new wish becomes the next spec: what bumps the revision, and what the user is shown."""

from dataclasses import fields, replace
from typing import Any

import pytest

from elastic_deploy.core.revise import acknowledged, difference, is_same, revised
from elastic_deploy.core.roster import versions_of
from elastic_deploy.model.memory import DeploymentMemory, Failure, FailureKind, Memory, ReplicaMemory
from elastic_deploy.model.pool import Pool
from elastic_deploy.model.rung import Rung
from elastic_deploy.model.scaling import Scaling
from elastic_deploy.model.shape import Shape
from elastic_deploy.model.spec import Canary, DeploymentSpec, OnFailure

SPEC = DeploymentSpec("chat", "org/model", "chat", Shape(2, 1, 1), revision=7, engine_arguments=("--seed", "1"))

ENGINE_CHANGES: dict[str, Any] = {
    "model": "org/other",
    "served_model_name": "talk",
    "engine_arguments": ("--seed", "2"),
}
OTHER_CHANGES: dict[str, Any] = {
    "wait_timeout": None,
    "engine_start_timeout": 60.0,
    "canary": Canary(period=5.0),
    "max_engine_failures": 9,
    "on_failure": OnFailure.KEEP,
    "drain_timeout": 7.0,
    "pools": (Pool("a", ("gpu-a",)),),
    "pool_timeout": 60.0,
    "partial_timeout": 60.0,
    "partial_budget": 5.0,
    "prices": (("gpu-a", 1.0),),
    "rungs": (Rung(Shape(1, 1, 1)),),
    "degrade_after": 5.0,
    "prefer_return": True,
    "return_after": 60.0,
    "step_timeout": 60.0,
    "lease": None,
    "idle_timeout": 60.0,
    "scaling": Scaling(0),
}


def wish(**changes: Any) -> DeploymentSpec:
    """What a user asks for: it never knows the revision."""
    return replace(SPEC, revision=1, **changes)


def test_every_field_of_a_spec_is_either_the_engines_or_not() -> None:
    """A new field has to be put on one of the two sides here, and into the fingerprint or not."""
    decided = {*ENGINE_CHANGES, *OTHER_CHANGES, "name", "shape", "revision", "wanted"}
    decided |= {"surge", "former", "restoring", "full"}  # of how a change is rolled out, not of what is wanted
    decided |= {"found_prices", "rung_arguments"}  # found out, not wished for
    assert {field.name for field in fields(DeploymentSpec)} == decided


@pytest.mark.parametrize("name", ENGINE_CHANGES)
def test_what_an_engine_is_started_with_makes_a_new_revision(name: str) -> None:
    assert revised(SPEC, None, wish(**{name: ENGINE_CHANGES[name]})).revision == 8


@pytest.mark.parametrize("shape", [Shape(4, 1, 1), Shape(2, 2, 1)])
def test_another_engine_shape_makes_a_new_revision(shape: Shape) -> None:
    assert revised(SPEC, None, wish(shape=shape)).revision == 8


@pytest.mark.parametrize("name", OTHER_CHANGES)
def test_deadlines_and_canaries_leave_running_engines_alone(name: str) -> None:
    after = revised(SPEC, None, wish(**{name: OTHER_CHANGES[name]}))
    assert after.revision == 7
    assert getattr(after, name) == OTHER_CHANGES[name]


def test_prices_that_are_found_out_anew_are_no_change() -> None:
    found = wish(found_prices=(("gpu-a", 1.0),))
    assert is_same(wish(), found)
    assert revised(SPEC, None, found).revision == 7


def test_more_replicas_leave_running_engines_alone() -> None:
    assert revised(SPEC, None, wish(shape=Shape(2, 1, 3))) == replace(SPEC, shape=Shape(2, 1, 3))


def test_the_same_wish_changes_nothing() -> None:
    assert revised(SPEC, DeploymentMemory("chat", 7, 0.0), wish()) == SPEC


def test_arguments_that_only_look_alike_are_other_arguments() -> None:
    one, other = wish(engine_arguments=("--a", "b c")), wish(engine_arguments=("--a", "b", "c"))
    assert revised(replace(one, revision=7), None, other).revision == 8
    assert difference(one, other) == ["engine_arguments: --a 'b c' -> --a b c"]


@pytest.mark.parametrize("kind", FailureKind)
def test_a_failed_deployment_gets_new_attempts(kind: FailureKind) -> None:
    failed = DeploymentMemory("chat", 7, 0.0, failure=Failure(kind, "It failed.", 5.0))
    assert revised(SPEC, failed, wish()).revision == 8


def test_a_stopped_deployment_is_wanted_again_and_starts_anew() -> None:
    after = revised(replace(SPEC, wanted=False), None, wish())
    assert (after.revision, after.wanted) == (8, True)


def test_a_deployment_never_seen_begins_with_the_first_revision() -> None:
    assert revised(None, None, wish()).revision == 1


def test_a_deployment_of_which_only_a_memory_is_left_goes_on_from_there() -> None:
    assert revised(None, DeploymentMemory("chat", 7, 0.0), wish()).revision == 8


@pytest.mark.parametrize(
    ("changes", "lines"),
    [
        ({}, []),
        ({"shape": Shape(2, 2, 2)}, ["gpus: 2 -> 8", "pipeline_parallel: 1 -> 2", "replicas: 1 -> 2"]),
        ({"wait_timeout": None}, ["wait_timeout: 30m -> none"]),
        ({"on_failure": OnFailure.KEEP}, ["on_failure: release -> keep"]),
        ({"engine_arguments": ()}, ["engine_arguments: --seed 1 -> (none)"]),
        ({"canary": Canary(5, 15, 7)}, ["canary_period: 10s -> 5s", "canary_failures: 3 -> 7"]),
        ({"max_engine_failures": 5}, ["max_engine_failures: 3 -> 5"]),
    ],
)
def test_the_user_is_shown_what_changes_a_line_each(changes: dict[str, Any], lines: list[str]) -> None:
    assert difference(SPEC, wish(**changes)) == lines


def test_no_change_of_a_wish_is_hidden_from_the_user() -> None:
    for name, value in (ENGINE_CHANGES | OTHER_CHANGES).items():
        assert difference(SPEC, wish(**{name: value})), name


A, B, C = (replace(SPEC, engine_arguments=("--seed", seed), revision=7) for seed in "123")


def served(*replicas: tuple[DeploymentSpec, dict[str, Any]]) -> DeploymentMemory:
    """The memory of replicas with engines of these versions."""
    made = (
        replace(ReplicaMemory(f"r{n}", generation=1, fingerprint=spec.fingerprint, version=spec.fingerprint), **more)
        for n, (spec, more) in enumerate(replicas)
    )
    return DeploymentMemory("chat", 7, 0.0, tuple(made))


SERVES: dict[str, Any] = {"proven_at": 5.0, "ever_ready": True}
BROKE: dict[str, Any] = SERVES | {"engine_ended": True}
GONE: dict[str, Any] = BROKE | {"leaving": "a new version serves in its place"}
STARTS: dict[str, Any] = {}
A_TO_B = replace(B, former=A)
B_BACK_TO_A = replace(A, former=B, restoring=True)

FORMERS: dict[str, tuple[DeploymentSpec, DeploymentMemory | None, DeploymentSpec, list[str]]] = {
    "what serves": (A, served((A, SERVES)), B, ["1"]),
    "what has served and will again": (A, served((A, BROKE)), B, ["1"]),
    "nothing, where nothing has served yet": (A, served((A, STARTS)), B, []),
    "nothing, where nothing is remembered": (A, None, B, []),
    "nothing, where it was stopped": (replace(A, wanted=False), served((A, SERVES)), B, []),
    "in the middle of a change, what was before that": (A_TO_B, served((A, SERVES), (B, STARTS)), C, ["1"]),
    "and after it what came up of that change": (A_TO_B, served((A, SERVES), (B, SERVES)), C, ["1", "2"]),
    "only what came up of it, where nothing older is left": (A_TO_B, served((A, GONE), (B, SERVES)), C, ["2"]),
    "what was before, even where it is down to be changed": (A_TO_B, served((B, STARTS)), C, ["1"]),
    "going back: what came up of the change": (A_TO_B, served((A, SERVES), (B, SERVES)), A, ["2"]),
    "going back before any of it came up: nothing": (A_TO_B, served((A, SERVES), (B, STARTS)), A, []),
    "while what was before is restored, that": (B_BACK_TO_A, served((A, SERVES), (B, STARTS)), C, ["1"]),
    "even where nothing of it serves yet": (B_BACK_TO_A, served((A, STARTS)), C, ["1"]),
    "the same version again: as it was": (A_TO_B, served((A, SERVES), (B, STARTS)), B, ["1"]),
}


@pytest.mark.parametrize("case", FORMERS)
def test_what_a_change_takes_the_place_of(case: str) -> None:
    old, memory, wanted, expected = FORMERS[case]
    after = revised(old, memory, replace(wanted, revision=1))
    formers = list(versions_of(after).values())[1:]
    assert [former.engine_arguments[1] for former in formers] == expected
    assert all(former.wanted and not former.restoring for former in formers)
    assert (after.revision, after.restoring) == (7 if old.fingerprint == wanted.fingerprint else 8, False)


def test_a_failed_deployment_has_nothing_that_is_to_be_spared() -> None:
    memory = replace(served((A, BROKE)), failure=Failure(FailureKind.ENGINE, "It failed.", 5.0))
    assert revised(A, memory, B).former is None


def test_other_deadlines_change_nothing_of_a_change_that_is_being_rolled_out() -> None:
    after = revised(B_BACK_TO_A, served((A, SERVES)), replace(A, revision=1, wait_timeout=9.0))
    assert after == replace(B_BACK_TO_A, wait_timeout=9.0)


def test_the_room_for_a_surge_is_not_what_the_user_asks_for() -> None:
    assert is_same(SPEC, replace(SPEC, surge=True))
    assert not is_same(SPEC, replace(SPEC, drain_timeout=1.0))


def test_a_change_that_was_given_up_is_old_news_once_the_user_has_decided_anew() -> None:
    refused = Failure(FailureKind.ENGINE, "It did not come up.", 5.0)
    memory = Memory((replace(served(), refused=refused), DeploymentMemory("aside", 1, 0.0, refused=refused)))
    after = acknowledged(memory, "chat")
    assert [d.refused for d in after.deployments] == [None, refused]
