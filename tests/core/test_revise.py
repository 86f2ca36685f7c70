"""How a new wish becomes the next spec: what bumps the revision, and what the user is shown."""

from dataclasses import fields, replace
from typing import Any

import pytest

from elastic_deploy.core.revise import difference, revised
from elastic_deploy.model.memory import DeploymentMemory, Failure, FailureKind
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
}


def wish(**changes: Any) -> DeploymentSpec:
    """What a user asks for: it never knows the revision."""
    return replace(SPEC, revision=1, **changes)


def test_every_field_of_a_spec_is_either_the_engines_or_not() -> None:
    """A new field has to be put on one of the two sides here, and into the fingerprint or not."""
    decided = {*ENGINE_CHANGES, *OTHER_CHANGES, "name", "shape", "revision", "wanted"}
    decided |= {"surge", "former", "restoring"}  # of how a change is rolled out, not of what is wanted
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
