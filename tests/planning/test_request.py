"""Flags over settings over defaults, and names made from models."""

import math
from dataclasses import fields, replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from elastic_deploy.model.errors import ExitCode, InvalidConfigError, UsageError, UserError
from elastic_deploy.model.front_door import FrontDoorBounds
from elastic_deploy.model.rung import ListedRung
from elastic_deploy.model.scaling import ReplicaRange
from elastic_deploy.model.shape import Shape
from elastic_deploy.model.spec import Canary, OnFailure
from elastic_deploy.planning.request import deployment_name, merge, served_model_name, spec_of
from elastic_deploy.planning.settings import NAME, Settings

LEAST = Settings(model="org/Tiny-7B", gpus=4)


def test_what_nobody_says_is_the_contracts_default() -> None:
    request = merge(Settings(), LEAST)
    assert (request.name, request.served_model_name) == ("tiny-7b", "org/Tiny-7B")
    assert (request.port, request.wait_timeout, request.min_gpus) == (8000, 1800.0, 4)
    assert (request.tensor_parallel_size, request.replicas, request.engine_arguments) == (None, None, ())
    assert (request.on_failure, request.max_engine_failures, request.engine_start_timeout) == ("release", 3, 1800.0)
    assert (request.canary_period, request.canary_timeout, request.canary_failures) == (10.0, 15.0, 3)


def test_a_flag_beats_the_file_and_the_file_beats_the_default() -> None:
    file = Settings(model="a", gpus=4, port=9000, engine_arguments=("--a",), on_failure=OnFailure.KEEP)
    request = merge(file, Settings(model="b", engine_arguments=("--b",)))
    assert (request.model, request.gpus, request.port) == ("b", 4, 9000)
    assert (request.engine_arguments, request.on_failure) == (("--b",), OnFailure.KEEP)


SAID: dict[str, Any] = {
    "name": "other",
    "model": "org/other",
    "gpus": 8,
    "tensor_parallel_size": 2,
    "pipeline_parallel_size": 2,
    "replicas": 2,
    "min_gpus": 2,
    "rungs": (ListedRung(2, ("--max-model-len", "512")),),
    "degrade_after": 5.0,
    "wait_timeout": 5.0,
    "port": 9000,
    "tls_cert": "cert.pem",
    "tls_key": "key.pem",
    "gateway": FrontDoorBounds(hold_timeout=1.0),
    "engine_arguments": ("--seed", "1"),
    "on_failure": OnFailure.KEEP,
    "max_engine_failures": 9,
    "engine_start_timeout": 5.0,
    "canary_period": 5.0,
    "canary_timeout": 5.0,
    "canary_failures": 9,
    "drain_timeout": 5.0,
    "pools": ("a", "b"),
    "pool_timeout": 5.0,
    "partial_timeout": 5.0,
    "partial_budget": 5.0,
    "prices": (("gpu", 5.0),),
    "prefer_return": True,
    "return_after": 5.0,
    "step_timeout": 5.0,
    "lease": 5.0,
    "idle_timeout": 5.0,
    "requests_per_replica": 5,
    "grow_after": 5.0,
    "shrink_after": 5.0,
}
"""Something else than the default for each setting."""

TOGETHER: dict[str, dict[str, Any]] = {
    "tls_cert": {"tls_key": "key.pem"},
    "tls_key": {"tls_cert": "cert.pem"},
    **{key: {"replicas": ReplicaRange(1, 4)} for key in ("requests_per_replica", "grow_after", "shrink_after")},
}
"""What a setting goes with."""

OF_THE_CLUSTER = {"port", "tls_cert", "tls_key", "gateway"}
OF_THE_PLAN = {"gpus", "tensor_parallel_size", "pipeline_parallel_size", "replicas", "min_gpus", "rungs", "pools"}


def test_every_setting_is_in_the_table() -> None:
    assert set(SAID) == {field.name for field in fields(Settings)}


@pytest.mark.parametrize("name", SAID)
def test_whatever_is_said_arrives(name: str) -> None:
    """In the request, and in what the supervisor is handed, where it is not the front door's or planned with."""
    beside = TOGETHER.get(name, {})
    said = merge(LEAST, Settings(**{name: SAID[name]}, **beside))
    without = merge(LEAST, Settings(**({} if name.startswith("tls_") else beside)))
    assert said != without
    if name not in OF_THE_CLUSTER | OF_THE_PLAN:
        assert spec_of(said, Shape(4, 1, 1)) != spec_of(without, Shape(4, 1, 1))


def test_an_endless_wait_is_none_in_the_request() -> None:
    assert merge(LEAST, Settings(wait_timeout=math.inf)).wait_timeout is None


WRONG: dict[str, tuple[Settings, Settings, type[UserError], str]] = {
    "no model": (
        Settings(gpus=1),
        Settings(),
        UsageError,
        "Nothing says which model to serve: give --model MODEL, or write `model` under metadata.elastic_deploy in the"
        " cluster YAML.",
    ),
    "no GPUs": (Settings(), Settings(model="m"), UsageError, "Nothing says how many GPUs to ask for: give --gpus N"),
    "zero GPUs": (LEAST, Settings(gpus=0), UsageError, "--gpus must be a whole number, 1 or more, not 0."),
    "a negative size": (LEAST, Settings(tensor_parallel_size=-2), UsageError, "--tensor-parallel-size must be"),
    "no such port": (LEAST, Settings(port=65536), UsageError, "--port must be a port, 1 to 65535, not 65536."),
    "a name with a slash": (LEAST, Settings(name="../x"), UsageError, "--name must be 1 to 40 of the characters"),
    "a wrong file": (Settings(gpus=0), LEAST, InvalidConfigError, "metadata.elastic_deploy.gpus must be"),
    "more at least than at most": (LEAST, Settings(min_gpus=5), UsageError, "min_gpus is 5, more than the 4 GPUs"),
    "the same in the file": (
        replace(LEAST, min_gpus=5),
        Settings(),
        InvalidConfigError,
        "lower --min-gpus to at most 4",
    ),
}


@pytest.mark.parametrize(("file", "flags", "error", "sentence"), WRONG.values(), ids=WRONG)
def test_what_is_wrong_is_said_in_the_words_of_its_source(
    file: Settings, flags: Settings, error: type[UserError], sentence: str
) -> None:
    with pytest.raises(error) as wrong:
        merge(file, flags)
    assert sentence in str(wrong.value)
    assert wrong.value.code == (ExitCode.USAGE if error is UsageError else ExitCode.INVALID_CONFIG)


@pytest.mark.parametrize(
    ("model", "name"),
    [
        ("tiny", "tiny"),
        ("meta-llama/Llama-3.1-8B-Instruct", "llama-3-1-8b-instruct"),
        ("/models/My Model_v2/", "my-model-v2"),
        ("org/" + "x" * 60, "x" * 40),
        ("org/" + "x" * 39 + "-y", "x" * 39),
        ("模型", "model"),
        ("/", "model"),
    ],
)
def test_a_deployment_is_named_after_its_model(model: str, name: str) -> None:
    assert deployment_name(model) == name


@given(st.text(min_size=1))
def test_any_model_gives_a_name_that_is_allowed(model: str) -> None:
    assert NAME.fullmatch(deployment_name(model))


@pytest.mark.parametrize(
    ("model", "arguments", "name"),
    [
        ("org/Model", (), "org/Model"),
        ("tiny", (), "tiny"),
        ("/models/llama/", (), "llama"),
        ("./llama", (), "llama"),
        ("~/llama", (), "llama"),
        ("org/Model", ("--served-model-name", "short", "other"), "short"),
        ("org/Model", ("--seed", "1", "--served-model-name=short"), "short"),
        ("org/Model", ("--served-model-name",), "org/Model"),
    ],
)
def test_clients_send_the_name_that_vllm_serves(model: str, arguments: tuple[str, ...], name: str) -> None:
    assert served_model_name(model, arguments) == name


def test_the_supervisor_is_handed_all_of_the_request() -> None:
    request = merge(LEAST, Settings(canary_period=1.0, canary_failures=2, engine_arguments=("--seed", "1")))
    spec = spec_of(request, Shape(2, 2, 1), revision=7)
    assert (spec.name, spec.model, spec.served_model_name) == ("tiny-7b", "org/Tiny-7B", "org/Tiny-7B")
    assert (spec.shape, spec.revision, spec.engine_arguments) == (Shape(2, 2, 1), 7, ("--seed", "1"))
    assert spec.canary == Canary(period=1.0, timeout=15.0, failures=2)
