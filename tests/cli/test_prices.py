"""Whose price of a node counts, and where it is said."""

import json
from dataclasses import replace
from pathlib import Path

import pytest

from elastic_deploy.cli.main import run
from elastic_deploy.cli.prepare import prepare
from elastic_deploy.cli.prices import price_lines
from elastic_deploy.core.revise import difference, is_same
from elastic_deploy.planning.settings import Settings

YAML = """
cluster_name: c
max_workers: 4
provider: {type: aws, region: us-west-2}
auth: {ssh_user: ubuntu}
available_node_types:
  head: {node_config: {InstanceType: m5.large}}
  small: {max_workers: 4, node_config: {InstanceType: g5.xlarge}}
  large: {max_workers: 4, node_config: {InstanceType: g6.xlarge}}
head_node_type: head
metadata: {elastic_deploy: {prices: {large: 2.0}}}
"""
FLAGS = Settings(model="tiny", gpus=1)


@pytest.fixture
def cluster(tmp_path: Path) -> Path:
    path = tmp_path / "c.yaml"
    path.write_text(YAML)
    return path


def test_a_flag_goes_before_the_yaml_and_that_before_aws_and_that_before_the_table(cluster: Path) -> None:
    def known(flags: dict[str, float], asked: dict[str, float]) -> dict[str, tuple[float, str]]:
        prepared = prepare(cluster, replace(FLAGS, prices=tuple(flags.items()) or None))
        prepared = replace(prepared, asked_prices=tuple(asked.items()))
        spec = prepared.spec
        counted = {**dict(spec.found_prices), **dict(spec.prices)}
        told = {each.node_type: (each.usd_per_hour, each.source.partition(" (")[0]) for each in prepared.prices}
        assert {name: price for name, (price, _) in told.items()} == counted
        return told

    assert known({}, {}) == {"small": (1.006, "the built-in table"), "large": (2.0, "the YAML")}
    assert known({}, {"small": 1.2, "large": 9.0}) == {"small": (1.2, "AWS"), "large": (2.0, "the YAML")}
    assert known({"large": 3.0}, {"large": 9.0})["large"] == (3.0, "--price")
    assert known({"small": 3.0}, {"small": 9.0}) == {"small": (3.0, "--price"), "large": (2.0, "the YAML")}


def test_a_price_that_moved_on_the_market_is_no_change_of_the_deployment(cluster: Path) -> None:
    prepared = prepare(cluster, FLAGS)
    then, now = (replace(prepared, asked_prices=(("small", price),)).spec for price in (0.4, 0.5))
    assert then.found_prices != now.found_prices
    assert is_same(then, now)
    assert difference(then, now) == []
    named = prepare(cluster, replace(FLAGS, prices=(("small", 0.4),))).spec
    assert not is_same(then, named)


def test_plan_says_whose_prices_it_goes_by(cluster: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["plan", str(cluster), "--model", "tiny", "--gpus", "1", "--price", "small=1.5"]
    assert run(words) == 0
    out = capsys.readouterr().out
    assert "prices      small 1.5 USD an hour, by --price" in out
    assert "prices      large 2 USD an hour, by the YAML" in out
    assert run([*words, "-o", "json"]) == 0
    told = json.loads(capsys.readouterr().out)["prices"]
    assert {"node_type": "small", "usd_per_hour": 1.5, "source": "--price"} in told


@pytest.mark.parametrize("wrong", ["small", "small=", "small=-1", "small=nan", "=1", "none=1"])
def test_a_price_that_is_none_is_a_usage_error(cluster: Path, wrong: str) -> None:
    assert run(["plan", str(cluster), "--model", "tiny", "--gpus", "1", "--price", wrong]) == 2


def test_types_with_one_source_are_told_together(cluster: Path) -> None:
    prepared = replace(prepare(cluster, FLAGS), asked_prices=(("head", 0.1), ("small", 1.25)))
    assert price_lines(prepared.prices)[0] == "head 0.1, small 1.25 USD an hour, by AWS"
