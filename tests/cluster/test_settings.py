"""Our own settings under `metadata.elastic_deploy`."""

import math
from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest
import yaml

from elastic_deploy.cluster.settings import WrittenBounds, WrittenSettings, read_settings
from elastic_deploy.cluster.yaml_source import read
from elastic_deploy.model.errors import InvalidConfigError
from elastic_deploy.model.front_door import FrontDoorBounds
from elastic_deploy.model.rung import ListedRung
from elastic_deploy.model.scaling import ReplicaRange
from elastic_deploy.model.spec import OnFailure
from elastic_deploy.planning.settings import DURATIONS, ENDLESS, Settings

ALL = """
metadata:
  owner: somebody
  elastic_deploy:
    name: chat
    model: org/model
    gpus: 8
    tensor_parallel_size: 2
    pipeline_parallel_size: 2
    replicas: "1:2"
    min_gpus: 4
    rungs: ["2: --max-model-len 8192", "1": --quantization fp8]
    degrade_after: 5m
    wait_timeout: none
    port: 9000
    tls_cert: tls/cert.pem
    tls_key: /etc/tls/key.pem
    gateway:
      hold_timeout: 0
      hold_requests: 10
      hold_bytes: 1000000
      max_body_bytes: 2000000
      max_connections: 100
      drain_timeout: 1m
      engine_silence_timeout: 5m
    engine_arguments: [--max-model-len, "2048"]
    on_failure: keep
    max_engine_failures: 5
    engine_start_timeout: 1h
    canary_period: 5
    canary_timeout: 20s
    canary_failures: 2
    drain_timeout: 2m
    pools: [spot-a, on-demand]
    pool_timeout: 5m
    partial_timeout: none
    partial_budget: 12
    prices: {gpu-a: 1.5, gpu-b: 2}
    prefer_return: true
    return_after: 1h
    step_timeout: 20m
    lease: none
    idle_timeout: 15m
    requests_per_replica: 4
    grow_after: 10s
    shrink_after: 3m
"""


def settings_in(tmp_path: Path, text: str) -> Settings:
    path = tmp_path / "cluster.yaml"
    path.write_text(text)
    return read_settings(read(path))


def test_every_setting_can_be_written(tmp_path: Path) -> None:
    assert settings_in(tmp_path, ALL) == Settings(
        name="chat",
        model="org/model",
        gpus=8,
        tensor_parallel_size=2,
        pipeline_parallel_size=2,
        replicas=ReplicaRange(1, 2),
        min_gpus=4,
        rungs=(ListedRung(2, ("--max-model-len", "8192")), ListedRung(1, ("--quantization", "fp8"))),
        degrade_after=300.0,
        wait_timeout=math.inf,
        port=9000,
        tls_cert=str(tmp_path / "tls" / "cert.pem"),
        tls_key="/etc/tls/key.pem",
        gateway=FrontDoorBounds(
            hold_timeout=0.0,
            hold_requests=10,
            hold_bytes=1000000,
            max_body_bytes=2000000,
            max_connections=100,
            drain_timeout=60.0,
            engine_silence_timeout=300.0,
        ),
        engine_arguments=("--max-model-len", "2048"),
        on_failure=OnFailure.KEEP,
        max_engine_failures=5,
        engine_start_timeout=3600.0,
        canary_period=5.0,
        canary_timeout=20.0,
        canary_failures=2,
        drain_timeout=120.0,
        pools=("spot-a", "on-demand"),
        pool_timeout=300.0,
        partial_timeout=math.inf,
        partial_budget=12.0,
        prices=(("gpu-a", 1.5), ("gpu-b", 2.0)),
        prefer_return=True,
        return_after=3600.0,
        step_timeout=1200.0,
        lease=math.inf,
        idle_timeout=900.0,
        requests_per_replica=4,
        grow_after=10.0,
        shrink_after=180.0,
    )
    assert set(yaml.safe_load(ALL)["metadata"]["elastic_deploy"]) == {each.name for each in fields(Settings)}


def test_the_file_knows_the_same_settings_as_the_command_line() -> None:
    assert list(WrittenSettings.model_fields) == [each.name for each in fields(Settings)]
    assert list(WrittenBounds.model_fields) == [each.name for each in fields(FrontDoorBounds)]


def test_durations_are_read_and_only_a_canarys_must_end(tmp_path: Path) -> None:
    for name in DURATIONS:
        assert getattr(settings_in(tmp_path, f"metadata: {{elastic_deploy: {{{name}: 2m}}}}"), name) == 120.0
        endless = f"metadata: {{elastic_deploy: {{{name}: none}}}}"
        if name in ENDLESS:
            assert getattr(settings_in(tmp_path, endless), name) == math.inf
        else:
            with pytest.raises(InvalidConfigError, match=f"elastic_deploy.{name}: 'none' is no duration"):
                settings_in(tmp_path, endless)


@pytest.mark.parametrize("text", ["a: 1", "metadata:", "metadata: {}", "metadata: {elastic_deploy: }"])
def test_a_file_without_settings_says_nothing(tmp_path: Path, text: str) -> None:
    assert settings_in(tmp_path, text) == Settings()


@pytest.mark.parametrize(
    ("written", "sentence"),
    [
        ({"gpu": 2}, "gpu: unknown key. Did you mean gpus?"),
        ({"tensor-parallel-size": 2}, "tensor-parallel-size: unknown key. Did you mean tensor_parallel_size?"),
        ({"zebra": 2}, "zebra: unknown key. What may stand here is canary_failures, canary_period"),
        ({"gpus": 0}, "gpus: must be a whole number, 1 or more, not 0."),
        ({"gpus": "two"}, "gpus: must be a whole number, not 'two'."),
        ({"gpus": True}, "gpus: must be a whole number, not True."),
        ({"gpus": 1.5}, "gpus: must be a whole number, not 1.5."),
        ({"model": 7}, "model: must be text, not 7. Put it in quotes."),
        ({"model": " "}, "model: must be a hub id, a directory or tiny, not ' '."),
        ({"name": "My Model"}, "name: must be 1 to 40 of the characters a-z, 0-9 and -"),
        ({"port": 0}, "port: must be a port, 1 to 65535, not 0."),
        ({"wait_timeout": "soon"}, "wait_timeout: 'soon' is no duration: write seconds as 90 or 90s"),
        ({"wait_timeout": [1]}, "wait_timeout: [1] is no duration"),
        ({"wait_timeout": True}, "wait_timeout: True is no duration"),
        ({"engine_arguments": "--seed 1"}, "engine_arguments: must be a list, not '--seed 1'."),
        ({"engine_arguments": ["--seed", 1]}, "engine_arguments[1]: must be text, not 1. Put it in quotes."),
        ({"tls_cert": "cert.pem"}, "tls_cert: needs tls_key beside it."),
        ({"tls_key": "key.pem"}, "tls_key: needs tls_cert beside it."),
        ({"tls_cert": " ", "tls_key": "key.pem"}, "tls_cert: must be a file, not ' '."),
        ({"gateway": 5}, "gateway: must be a mapping (key: value), not 5."),
        ({"gateway": {"hold_timout": "5s"}}, "gateway.hold_timout: unknown key. Did you mean hold_timeout?"),
        ({"gateway": {"port": 1}}, "gateway.port: unknown key. What may stand here is drain_timeout"),
        ({"gateway": {"hold_timeout": "none"}}, "gateway.hold_timeout: 'none' is no duration"),
        ({"gateway": {"hold_requests": -1}}, "gateway.hold_requests: must be a whole number, 0 or more, not -1."),
        ({"gateway": {"max_connections": 0}}, "gateway.max_connections: must be a whole number, 1 or more, not 0."),
        ({"gateway": {"max_body_bytes": "1M"}}, "gateway.max_body_bytes: must be a whole number, not '1M'."),
        ({"gateway": {"engine_silence_timeout": "0.5s"}}, "gateway.engine_silence_timeout: must be a duration of a"),
        ({"rungs": ["two"]}, "rungs[0]: 'two' is no rung: write GPUS: ARGUMENTS, such as '2: --max-model-len 8192'"),
        ({"rungs": ["2: -a 1", "2: -b 1"]}, "rungs: must name each number of GPUs once"),
        ({"rungs": [5]}, "rungs[0]: '5' is no rung: write GPUS: ARGUMENTS"),
        ({"rungs": 2}, "rungs: must be a list, not 2."),
        ({"on_failure": "hold"}, "on_failure: must be 'release' or 'keep', not 'hold'."),
    ],
)
def test_a_wrong_setting_is_told_with_its_place(tmp_path: Path, written: dict[str, Any], sentence: str) -> None:
    text = yaml.safe_dump({"metadata": {"elastic_deploy": written}})
    with pytest.raises(InvalidConfigError) as wrong:
        settings_in(tmp_path, text)
    line = 5 if "engine_arguments[1]" in sentence else 4 if sentence.startswith(("gateway.", "rungs[0]")) else 3
    assert f"line {line}, metadata.elastic_deploy.{sentence}" in str(wrong.value)


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("metadata: {elastic_deploy: 5}", "metadata.elastic_deploy: must be a mapping (key: value), not 5"),
        ("metadata: {elastic-deploy: {}}", "metadata.elastic-deploy: our settings are not read from here"),
    ],
)
def test_a_section_that_is_wrong(tmp_path: Path, text: str, sentence: str) -> None:
    with pytest.raises(InvalidConfigError) as wrong:
        settings_in(tmp_path, text)
    assert sentence in str(wrong.value)


def test_a_range_that_yaml_reads_as_a_number_is_refused(tmp_path: Path) -> None:
    with pytest.raises(
        InvalidConfigError, match=r"line 1, metadata.elastic_deploy.replicas: YAML reads 1:3 as 63. Put"
    ):
        settings_in(tmp_path, "metadata: {elastic_deploy: {replicas: 1:3}}")
    assert settings_in(tmp_path, "metadata: {elastic_deploy: {replicas: '1:3'}}").replicas is not None
