"""Replicas as a range, the idle timeout and the lease, as they are said and what becomes of them."""

import math

import pytest

from elastic_deploy.model.errors import InvalidConfigError, UsageError
from elastic_deploy.model.scaling import ReplicaRange, Scaling, parse_replicas
from elastic_deploy.model.shape import Shape
from elastic_deploy.planning.request import merge, spec_of
from elastic_deploy.planning.settings import Settings

LEAST = Settings(model="tiny", gpus=6)


@pytest.mark.parametrize(("text", "meant"), [("3", 3), ("1:3", ReplicaRange(1, 3)), (" 0:2 ", ReplicaRange(0, 2))])
def test_replicas_are_a_number_or_a_range(text: str, meant: object) -> None:
    assert parse_replicas(text) == meant


@pytest.mark.parametrize("text", ["", "1-3", "1:", ":3", "-1", "a:b"])
def test_anything_else_is_told_how_to_be_written(text: str) -> None:
    with pytest.raises(ValueError, match="write 2, or 1:3"):
        parse_replicas(text)


@pytest.mark.parametrize("wrong", [ReplicaRange(3, 1), ReplicaRange(0, 0), 0])
def test_a_range_goes_upwards(wrong: int | ReplicaRange) -> None:
    with pytest.raises(UsageError, match="--replicas must be"):
        merge(LEAST, Settings(replicas=wrong))


def test_a_range_reaches_the_spec_with_the_most_as_its_shape() -> None:
    request = merge(LEAST, Settings(replicas=ReplicaRange(1, 3), grow_after=5.0, lease=math.inf))
    assert (request.replicas, request.scaling) == (3, Scaling(1, grow_after=5.0))
    spec = spec_of(request, Shape(2, 1, 3))
    assert (spec.scaling, spec.idle_timeout, spec.lease) == (Scaling(1, grow_after=5.0), None, None)


def test_from_zero_there_is_an_idle_timeout() -> None:
    assert merge(LEAST, Settings(replicas=ReplicaRange(0, 3))).idle_timeout == 600.0
    assert merge(LEAST, Settings(replicas=ReplicaRange(0, 3), idle_timeout=60.0)).idle_timeout == 60.0
    with pytest.raises(InvalidConfigError, match="come to 0 by an idle timeout"):
        merge(LEAST, Settings(replicas=ReplicaRange(0, 3), idle_timeout=math.inf))


def test_a_number_on_the_command_line_beats_a_range_in_the_file() -> None:
    request = merge(Settings(model="tiny", gpus=6, replicas=ReplicaRange(0, 3)), Settings(replicas=2))
    assert (request.replicas, request.scaling, request.idle_timeout) == (2, None, None)
