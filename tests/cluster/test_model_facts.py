"""What a checkpoint's directory tells without loading it."""

import json
from pathlib import Path

import pytest

from elastic_deploy.cluster.model_facts import model_facts
from elastic_deploy.model.shape import ModelFacts

CONFIG = {"num_attention_heads": 32, "num_key_value_heads": 8, "num_hidden_layers": 40}


def checkpoint(directory: Path, config: object, **sizes: int) -> Path:
    directory.joinpath("config.json").write_text(json.dumps(config))
    for name, size in sizes.items():
        directory.joinpath(name.replace("__", ".")).write_bytes(b"\0" * size)
    return directory


def test_heads_layers_and_the_sum_of_all_shards(tmp_path: Path) -> None:
    directory = checkpoint(tmp_path, CONFIG, a__safetensors=10, b__safetensors=20, c__bin=500)
    assert model_facts(directory) == ModelFacts(30, 32, 8, 40)


def test_older_weight_files_count_where_there_are_no_others(tmp_path: Path) -> None:
    assert model_facts(checkpoint(tmp_path, CONFIG, a__bin=7)).weight_bytes == 7


def test_the_language_part_of_a_model_that_also_sees(tmp_path: Path) -> None:
    facts = model_facts(checkpoint(tmp_path, {"text_config": CONFIG, "vision_config": {"num_attention_heads": 5}}))
    assert (facts.attention_heads, facts.layers, facts.weight_bytes) == (32, 40, None)


@pytest.mark.parametrize("config", [[], {}, {"num_attention_heads": "many", "num_hidden_layers": 0}])
def test_a_config_that_says_nothing(tmp_path: Path, config: object) -> None:
    assert model_facts(checkpoint(tmp_path, config)) == ModelFacts()


def test_no_checkpoint_there(tmp_path: Path) -> None:
    assert model_facts(tmp_path / "absent") == ModelFacts()
    tmp_path.joinpath("config.json").write_bytes(b"\xff{")
    assert model_facts(tmp_path) == ModelFacts()
