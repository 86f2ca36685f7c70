"""A rehearsal engine gets the arguments that it needs, and never one that the user settled."""

from pathlib import Path

import pytest

from elastic_deploy.rehearsal.engine_arguments import model_path, rehearsal_arguments, rehearsal_environment

ALL = (
    *("--dtype", "float32"),
    "--enforce-eager",
    *("--kv-cache-memory-bytes", "64M"),
    *("--max-model-len", "auto"),
)


def test_all_are_given_when_the_user_gives_nothing() -> None:
    assert rehearsal_arguments(()) == ALL


def test_what_the_user_gives_besides_changes_nothing() -> None:
    assert rehearsal_arguments(("--seed", "3", "dtype", "--max-num-seqs=4", "--")) == ALL


@pytest.mark.parametrize(
    ("given", "missing"),
    [
        (("--dtype", "float16"), ("--dtype", "float32")),
        (("--dtype=float16",), ("--dtype", "float32")),
        (("--max_model_len", "512"), ("--max-model-len", "auto")),
        (("--max_model_len=512",), ("--max-model-len", "auto")),
        (("--seed", "1", "--kv_cache-memory-bytes=1G"), ("--kv-cache-memory-bytes", "64M")),
        (("--enforce-eager",), ("--enforce-eager",)),
        (("--no-enforce-eager",), ("--enforce-eager",)),
        (("--no_enforce_eager",), ("--enforce-eager",)),
    ],
)
def test_what_the_user_settled_in_any_spelling_is_left_out(given: tuple[str, ...], missing: tuple[str, ...]) -> None:
    words = list(ALL)
    start = words.index(missing[0])
    del words[start : start + len(missing)]
    assert rehearsal_arguments(given) == tuple(words)


def test_tiny_is_the_shipped_model() -> None:
    assert (Path(model_path("tiny")) / "config.json").is_file()


@pytest.mark.parametrize("name", ["Qwen/Qwen3-0.6B", "./tiny", "models/tiny", ""])
def test_every_other_model_keeps_its_name(name: str) -> None:
    assert model_path(name) == name


def test_the_environment_leaves_vllm_free_to_ask_the_plugin_and_the_hub() -> None:
    environment = rehearsal_environment()
    assert environment["OMP_NUM_THREADS"] == "1"
    assert environment.keys().isdisjoint({"VLLM_TARGET_DEVICE", "VLLM_PLUGINS", "HF_HUB_OFFLINE"})
