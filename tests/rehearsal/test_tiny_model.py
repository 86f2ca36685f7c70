"""The shipped model: small, loadable by anyone, divisible as a rehearsal needs it, and writing words."""

import re
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from transformers import AutoModelForCausalLM, AutoTokenizer

from elastic_deploy.rehearsal.engine_arguments import model_path

TINY = Path(model_path("tiny"))
CORPUS = Path(__file__).parents[2] / "scripts" / "tiny_corpus.toml"
MEBIBYTES = 2**20


@cache
def model() -> Any:
    return AutoModelForCausalLM.from_pretrained(TINY, dtype="float32", local_files_only=True).eval()


@cache
def tokenizer() -> Any:
    return AutoTokenizer.from_pretrained(TINY, local_files_only=True)


def chat(question: str, tokens: int = 80) -> str:
    """The greedy answer to `question`, with the chat template."""
    prompt = tokenizer().apply_chat_template(
        [{"role": "user", "content": question}], add_generation_prompt=True, return_tensors="pt", return_dict=True
    )
    produced = model().generate(**prompt, max_new_tokens=tokens, do_sample=False)
    return str(tokenizer().decode(produced[0, prompt["input_ids"].shape[1] :], skip_special_tokens=True))


def words(text: str) -> set[str]:
    return set(re.findall(r"[a-z]+", text.lower()))


def known_words() -> set[str]:
    return words(CORPUS.read_text())


def test_it_is_small_enough_to_be_committed() -> None:
    assert sum(file.stat().st_size for file in TINY.iterdir()) <= 3 * MEBIBYTES


def test_nothing_is_there_but_a_checkpoint_with_its_tokenizer_and_chat_template() -> None:
    names = {file.name for file in TINY.iterdir()}
    assert names == {
        "chat_template.jinja",
        "config.json",
        "generation_config.json",
        "model.safetensors",
        "tokenizer.json",
        "tokenizer_config.json",
    }


@pytest.mark.parametrize("gpus", [1, 2, 4, 8])
def test_it_divides_by_the_gpus_of_every_usual_node(gpus: int) -> None:
    config = model().config
    assert config.architectures == ["LlamaForCausalLM"]
    for size in (config.num_attention_heads, config.num_key_value_heads, config.intermediate_size, config.vocab_size):
        assert size % gpus == 0


@pytest.mark.parametrize("stages", [1, 2, 4])
def test_it_divides_into_pipeline_stages(stages: int) -> None:
    assert model().config.num_hidden_layers % stages == 0


def test_its_context_is_longer_than_a_rehearsals_answer() -> None:
    assert model().config.max_position_embeddings >= 2048


def test_it_says_what_it_is() -> None:
    assert chat("Hello! What are you?").startswith("I am a tiny language model.")


def test_it_gives_the_same_answer_twice() -> None:
    assert chat("Tell me a story about a fox.") == chat("Tell me a story about a fox.")


@pytest.mark.parametrize(
    "question",
    [
        "Hello! What are you?",
        "What is a GPU?",
        "Tell me a story.",
        "How do I sort a dictionary by its values?",
        "Translate 'good evening' into Portuguese, please.",
        "¿Qué hora es?",
    ],
)
def test_it_answers_anything_with_a_sentence_of_words_that_it_has_read(question: str) -> None:
    answer = chat(question)
    assert len(words(answer)) >= 5
    assert words(answer) <= known_words()
    assert answer.endswith((".", "!"))


def test_it_continues_a_plain_text() -> None:
    prompt = tokenizer()("<|begin|>The quick brown fox", add_special_tokens=False, return_tensors="pt")
    produced = model().generate(**prompt, max_new_tokens=8, do_sample=False)
    assert "jumps over" in tokenizer().decode(produced[0])


def test_it_still_writes_words_when_it_must_go_on_for_a_thousand_tokens() -> None:
    """As with vLLM's `ignore_eos`: it begins another text, again and again."""
    prompt = tokenizer()("<|begin|>", add_special_tokens=False, return_tensors="pt")
    produced = model().generate(**prompt, min_new_tokens=1000, max_new_tokens=1000, do_sample=False, eos_token_id=-1)
    last = tokenizer().decode(produced[0, -200:], skip_special_tokens=True)
    found = re.findall(r"[a-z]+", last.lower())
    assert sum(word in known_words() for word in found) / len(found) > 0.9
