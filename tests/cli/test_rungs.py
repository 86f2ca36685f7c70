"""Rungs on the command line: what `plan` says of them, and which of them and of the YAML's count."""

import json
from collections.abc import Callable
from pathlib import Path

from tests.cli.conftest import Finished

SIZES = ("--model", "tiny", "--gpus", "4", "--tensor-parallel-size", "4")
RUNGS = ("--rung", "2: --max-model-len 512", "--rung", "1: --max-model-len 128 --quantization fp8")


def test_plan_shows_the_ladder_with_its_arguments(cli: Callable[..., Finished], cluster_yaml: Path) -> None:
    done = cli("plan", str(cluster_yaml), *SIZES, *RUNGS)
    assert done.code == 0, done.err
    ladder = "2 (2 x 1, with --max-model-len 512), then 1 (1 x 1, with --max-model-len 128 --quantization fp8)"
    assert f"While fewer than 4 GPUs can be had, it serves on {ladder}." in done.out
    told = json.loads(cli("plan", str(cluster_yaml), *SIZES, *RUNGS, "-o", "json").out)["rungs"]
    assert [(each["shape"]["tensor_parallel"], each["arguments"]) for each in told] == [
        (2, ["--max-model-len", "512"]),
        (1, ["--max-model-len", "128", "--quantization", "fp8"]),
    ]


def test_rungs_on_the_command_line_take_the_place_of_the_yamls(
    cli: Callable[..., Finished], cluster_yaml: Path
) -> None:
    settings = "metadata: {elastic_deploy: {rungs: ['2: --seed 1']}}"
    cluster_yaml.write_text(f"{cluster_yaml.read_text()}\n{settings}\n")
    assert "2 (2 x 1, with --seed 1)" in cli("plan", str(cluster_yaml), *SIZES).out
    said = cli("plan", str(cluster_yaml), *SIZES, "--rung", "1: --seed 2").out
    assert "serves on 1 (1 x 1, with --seed 2)." in said


def test_a_rung_that_is_no_smaller_shape_is_exit_3(cli: Callable[..., Finished], cluster_yaml: Path) -> None:
    done = cli("plan", str(cluster_yaml), *SIZES, "--rung", "4: --seed 1")
    assert (done.code, done.out) == (3, "")
    assert "Rung 4 is none: a replica has 4 GPUs" in done.err
