"""What can be continued: the table, row by row, and that the documentation has the same one."""

import contextlib
import re
from pathlib import Path
from typing import Any

import pytest

from elastic_deploy.gateway.ask import parse_ask
from elastic_deploy.gateway.coverage import CARRIED, CHAT, COMPLETIONS, COUNTED, NOT_COVERED, PATHS, RENDERED, covered
from elastic_deploy.gateway.refusal import RefusalError

DOCUMENT = Path(__file__).parents[2] / "docs" / "gateway.md"
BARE: dict[str, Any] = {"model": "tiny", "stream": True}

HARMFUL: dict[str, Any] = {
    "n": 2,
    "use_beam_search": True,
    "logprobs": 0,
    "logprob_token_ids": [1],
    "prompt_logprobs": 1,
    "echo": True,
    "suffix": "end",
    "prompt_embeds": "AAAA",
    "frequency_penalty": 0.1,
    "presence_penalty": -0.1,
    "bad_words": ["bad"],
    "repetition_detection": {"max_pattern_size": 2},
    "thinking_token_budget": 10,
    "watermarking": True,
    "response_format": {"type": "json_object"},
    "structured_outputs": {"regex": "a+"},
    "include_reasoning": False,
    "return_token_ids": True,
    "routed_experts_prompt_start": 1,
    "media_io_kwargs": {"video": {}},
    "mm_processor_kwargs": {"fps": 1},
    "kv_transfer_params": {"do_remote_decode": True},
    "ec_transfer_params": {"x": 1},
    "vllm_xargs": {"x": 1},
}
HARMLESS: dict[str, Any] = {
    "n": 1,
    "logprobs": False,
    "frequency_penalty": 0,
    "presence_penalty": 0.0,
    "bad_words": [],
    "response_format": {"type": "text"},
    "include_reasoning": True,
    "return_token_ids": False,
    "suffix": "",
    "echo": False,
}


def test_every_row_has_an_example() -> None:
    assert HARMFUL.keys() == NOT_COVERED.keys()


@pytest.mark.parametrize("path", sorted(PATHS))
@pytest.mark.parametrize("name", sorted(NOT_COVERED))
def test_a_row_keeps_a_stream_from_being_continued_and_says_why(path: str, name: str) -> None:
    assert covered(path, BARE | {name: HARMFUL[name]}) == NOT_COVERED[name][1]
    assert covered(path, BARE | {name: None}) is None


@pytest.mark.parametrize("name", sorted(HARMLESS))
def test_a_row_leaves_alone_what_changes_nothing(name: str) -> None:
    assert covered(CHAT, BARE | {name: HARMLESS[name]}) is None


@pytest.mark.parametrize("name", sorted((CARRIED | COUNTED | RENDERED) - {"seed", "tools", "messages", "prompt"}))
def test_a_field_that_acts_on_each_token_or_on_the_prompt_is_covered(name: str) -> None:
    assert covered(CHAT, BARE | {name: 1}) is None


def test_a_field_that_nobody_knows_is_not_covered() -> None:
    assert "'brand_new'" in str(covered(CHAT, BARE | {"brand_new": 1}))


@pytest.mark.parametrize(("temperature", "goes_on"), [(0, True), (0.0, True), (0.7, False), (None, False)])
def test_a_seed_is_covered_only_where_nothing_is_drawn(temperature: float | None, goes_on: bool) -> None:
    assert (covered(CHAT, BARE | {"seed": 0, "temperature": temperature}) is None) is goes_on


@pytest.mark.parametrize(
    ("more", "goes_on"),
    [
        ({"stop": ["END"]}, True),
        ({"stop": "END", "stop_token_ids": [7]}, False),
        ({"stop": ["END"], "skip_special_tokens": False}, False),
        ({"stop": ["END"], "stop_token_ids": [7], "include_stop_str_in_output": True}, True),
        ({"stop": [], "stop_token_ids": [7]}, True),
    ],
)
def test_stop_strings_are_covered_unless_a_stop_token_could_be_taken_for_one(
    more: dict[str, Any], goes_on: bool
) -> None:
    assert (covered(CHAT, BARE | more) is None) is goes_on


@pytest.mark.parametrize(("choice", "goes_on"), [("none", True), ("auto", False), ("required", False), (None, False)])
def test_tools_are_covered_only_where_none_may_be_called(choice: str | None, goes_on: bool) -> None:
    tools = [{"type": "function", "function": {"name": "f"}}]
    assert (covered(CHAT, BARE | {"tools": tools, "tool_choice": choice}) is None) is goes_on
    assert covered(CHAT, BARE | {"tools": [], "tool_choice": choice}) is None


@pytest.mark.parametrize(
    ("content", "goes_on"),
    [
        ("text", True),
        ([{"type": "text", "text": "text"}], True),
        ([{"type": "text", "text": "what is it?"}, {"type": "image_url", "image_url": {"url": "x"}}], False),
        ([{"type": "input_audio", "input_audio": {}}], False),
    ],
)
def test_a_conversation_is_covered_if_it_is_text(content: Any, goes_on: bool) -> None:
    assert (covered(CHAT, BARE | {"messages": [{"role": "user", "content": content}]}) is None) is goes_on


@pytest.mark.parametrize(
    ("prompt", "goes_on"), [("a", True), (["a"], True), ([1, 2], True), ([[1, 2]], True), (["a", "b"], False)]
)
def test_one_prompt_is_covered_and_several_are_not(prompt: Any, goes_on: bool) -> None:
    assert (covered(COMPLETIONS, BARE | {"prompt": prompt}) is None) is goes_on


@pytest.mark.parametrize("messages", [None, 1, "x", [1], [None], [{"content": 1}], [{"content": [1]}], {}])
def test_nonsense_is_left_to_the_engine(messages: Any) -> None:
    covered(CHAT, BARE | {"messages": messages, "stop": messages, "prompt": messages})


def test_only_streams_that_can_be_continued_are_asked_for_with_token_ids() -> None:
    plain = b'{"model": "tiny", "stream": true, "messages": []}'
    assert b'"return_token_ids": true' in parse_ask(CHAT, plain).body
    for path, body in [
        (CHAT, b'{"model": "tiny", "messages": []}'),
        (CHAT, b'{"model": "tiny", "stream": true, "n": 2}'),
        ("/v1/responses", plain),
    ]:
        ask = parse_ask(path, body)
        assert ask.body == body
        assert ask.uncovered


def test_a_deep_body_is_an_ask_or_a_mistake() -> None:
    deep = b'{"model": "tiny", "stream": true, "messages": ' + b"[" * 900 + b"]" * 900 + b"}"
    with contextlib.suppress(RefusalError):
        assert parse_ask(CHAT, deep).model == "tiny"


def test_the_documentation_has_the_same_table() -> None:
    section = DOCUMENT.read_text().partition("## What cannot be continued")[2].partition("\n## ")[0]
    rows = re.findall(r"^\| `(\w+)` \| [^|]+ \| ([^|]+) \|$", section, re.MULTILINE)
    assert dict(rows) == {name: why for name, (_, why) in NOT_COVERED.items()}
