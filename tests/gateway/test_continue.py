"""Streams that go on at another engine: the client sees one answer, whole, with one id and one count of tokens."""

import asyncio
import json
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from elastic_deploy.gateway.settings import HoldLimits, Settings

from .stand_in import Front, StandIn, engine, front, route, run, write_routes
from .token_engine import CONTEXT, Script

TEXT = "I say héllo 🎉 日本 to you, and ENDnow I END here."
CHAT: dict[str, Any] = {
    "model": "tiny",
    "messages": [{"role": "user", "content": "Hello there"}],
    "stream": True,
    "temperature": 0,
    "max_tokens": 200,
    "stream_options": {"include_usage": True},
}
COMPLETION = {name: value for name, value in CHAT.items() if name != "messages"} | {"prompt": "Hello there"}
PATHS = {"/v1/chat/completions": CHAT, "/v1/completions": COMPLETION}
BOTH = pytest.mark.parametrize("path", list(PATHS))


@dataclass
class Told:
    """A stream as a client has it."""

    text: str = ""
    roles: list[str] = field(default_factory=list)
    identities: set[tuple[str, int, str, str]] = field(default_factory=set)
    finish: list[tuple[str, Any]] = field(default_factory=list)
    usage: Any = None
    error: str = ""
    done: bool = False
    tokens: list[Any] = field(default_factory=list)


def told(body: bytes) -> Told:
    """Read as a client would; nothing may come that it would not expect."""
    seen = Told()
    for event in body.decode().split("\n\n"):
        if not event or event.startswith(":"):
            continue
        data = event.removeprefix("data: ")
        assert not seen.done
        if data == "[DONE]":
            seen.done = True
            continue
        chunk = json.loads(data)
        if "error" in chunk:
            seen.error = chunk["error"]["message"]
            continue
        seen.identities.add((chunk["id"], chunk["created"], chunk["model"], chunk["object"]))
        seen.usage = chunk.get("usage") or seen.usage
        seen.tokens.append(chunk.get("prompt_token_ids"))
        for choice in chunk["choices"]:
            assert choice["index"] == 0
            delta = choice.get("delta", {})
            seen.tokens += [choice.get("token_ids"), choice.get("prompt_token_ids")]
            seen.roles += [delta["role"]] if "role" in delta else []
            seen.text += delta.get("content") or choice.get("text") or ""
            seen.finish += [(choice["finish_reason"], choice["stop_reason"])] if choice["finish_reason"] else []
    return seen


async def asked(door: Front, path: str, **more: Any) -> Told:
    async with door.post(PATHS[path] | more, path) as response:
        assert response.status == 200
        return told(await response.read())


async def engines(stack: AsyncExitStack, script: Script, count: int = 2) -> list[StandIn]:
    return [await stack.enter_async_context(engine(script.behave, f"r{n}")) for n in range(count)]


async def every_cut(directory: Path, path: str, script: Script, **more: Any) -> tuple[Told, list[Told]]:
    """An undisturbed answer, and one for each token after which an engine can break."""
    async with AsyncExitStack() as stack:
        backends = [each.backend for each in await engines(stack, script)]
        door = await stack.enter_async_context(front(Settings(directory, port=0), route(*backends)))
        whole = await asked(door, path, **more)
        cuts = []
        for number in range(whole.usage["completion_tokens"]):
            script.breaks = [number]
            cuts.append(await asked(door, path, **more))
            assert not script.breaks
        return whole, cuts


def assert_same(whole: Told, cut: Told) -> None:
    assert not cut.error
    assert cut.text == whole.text
    assert len(cut.identities) == 1
    assert (cut.roles, cut.finish, cut.usage, cut.done) == (whole.roles, whole.finish, whole.usage, True)
    assert not any(cut.tokens)


@BOTH
@pytest.mark.parametrize("per_chunk", [1, 2, 3, 5])
def test_special_tokens_in_an_answer_do_not_keep_it_from_going_on(tmp_path: Path, path: str, per_chunk: int) -> None:
    """With `ignore_eos` an answer has them in its middle: hidden from the client, spelled out by /detokenize."""
    script = Script("I say<|system|> héllo 🎉<|system|><|user|> 日<|system|>本 to you", per_chunk=per_chunk)
    whole, cuts = run(every_cut(tmp_path, path, script))
    assert whole.text == "I say héllo 🎉 日本 to you"
    for cut in cuts:
        assert_same(whole, cut)


@BOTH
@pytest.mark.parametrize("per_chunk", [1, 3])
def test_a_stream_that_breaks_after_any_token_is_whole(tmp_path: Path, path: str, per_chunk: int) -> None:
    script = Script(TEXT, per_chunk=per_chunk)
    whole, cuts = run(every_cut(tmp_path, path, script))
    assert whole.text == TEXT
    assert len(cuts) == len(script.tokens)
    for cut in cuts:
        assert_same(whole, cut)


@BOTH
@pytest.mark.parametrize("shown", [False, True])
@pytest.mark.parametrize(("stop", "least"), [(["ENDnow"], 0), (["END", "ow I"], 0), (["END"], 24), (["never"], 0)])
def test_stop_strings_hold_across_any_cut(tmp_path: Path, path: str, shown: bool, stop: list[str], least: int) -> None:
    more = {"stop": stop, "include_stop_str_in_output": shown, "min_tokens": least}
    whole, cuts = run(every_cut(tmp_path, path, Script(TEXT), **more))
    for cut in cuts:
        assert_same(whole, cut)


@BOTH
def test_the_limits_on_tokens_hold_across_any_cut(tmp_path: Path, path: str) -> None:
    script = Script(TEXT)
    whole, cuts = run(every_cut(tmp_path, path, script, max_tokens=12))
    assert whole.finish == [("length", None)]
    for cut in cuts:
        assert_same(whole, cut)


@pytest.mark.parametrize("ending", ["dead", "abort", "end"])
def test_an_engine_that_says_it_ends_is_continued_as_well(tmp_path: Path, ending: str) -> None:
    script = Script(TEXT, ending=ending)
    whole, cuts = run(every_cut(tmp_path, "/v1/chat/completions", script))
    for cut in cuts:
        assert_same(whole, cut)


def test_a_stream_that_breaks_is_held_for_the_next_generation_and_kept_alive(tmp_path: Path) -> None:
    async def story() -> None:
        script = Script(TEXT, breaks=[5])
        settings = Settings(tmp_path, port=0, hold=HoldLimits(comment=0.1))
        async with (
            engine(script.behave) as dying,
            engine(script.behave, generation=2) as next_one,
            front(settings, route(dying.backend)) as door,
            door.post(CHAT) as response,
        ):
            while b": waiting: tiny is recovering" not in (seen := await response.content.readuntil(b"\n\n")):
                assert b"data: " in seen
            write_routes(tmp_path, route(next_one.backend))
            rest = told(await response.read())
            assert TEXT.endswith(rest.text)
            assert (rest.roles, rest.done) == ([], True)
            await asyncio.sleep(0.05)
            assert door.log[-1]["outcome"] == "answered"
            assert door.log[-1]["continued"] == 1
            assert (await door.metrics())['elastic_deploy_gateway_continued_total{deployment="tiny"}'] == 1

    run(story())


def test_a_chat_without_a_limit_goes_on_to_the_end_of_the_context(tmp_path: Path) -> None:
    async def story() -> None:
        script = Script(TEXT, breaks=[5])
        async with AsyncExitStack() as stack:
            backends = [each.backend for each in await engines(stack, script)]
            door = await stack.enter_async_context(front(Settings(tmp_path, port=0), route(*backends)))
            assert (await asked(door, "/v1/chat/completions", max_tokens=None)).text == TEXT
            assert script.asked[-1]["max_tokens"] == CONTEXT
            assert script.paths[-2:] == ["/tokenize", "/v1/completions"]

    run(story())


def test_a_prompt_of_more_than_a_megabyte_of_tokens_is_replayed_and_not_shown(tmp_path: Path) -> None:
    async def story() -> None:
        script = Script("yes, I see", breaks=[2])
        async with AsyncExitStack() as stack:
            backends = [each.backend for each in await engines(stack, script)]
            door = await stack.enter_async_context(front(Settings(tmp_path, port=0), route(*backends)))
            prompt = "日本" * 70_000
            answer = await asked(door, "/v1/completions", prompt=prompt)
            assert len(json.dumps(script.prompt)) > 1_000_000
            assert (answer.text, answer.done, any(answer.tokens)) == (script.answer, True, False)

    run(story())


def test_an_answer_whose_last_token_is_told_is_closed_without_another_engine(tmp_path: Path) -> None:
    async def story() -> None:
        script = Script(TEXT, finish_then_break=True)
        async with engine(script.behave) as only, front(Settings(tmp_path, port=0), route(only.backend)) as door:
            whole = await asked(door, "/v1/chat/completions")
            script.breaks = [0]
            assert_same(whole, await asked(door, "/v1/chat/completions"))
            assert len(only.seen) == 2

    run(story())


def test_a_stream_under_which_two_engines_end_ends_with_an_error(tmp_path: Path) -> None:
    async def story() -> None:
        script = Script(TEXT, breaks=[5, 3, 3])
        async with AsyncExitStack() as stack:
            backends = [each.backend for each in await engines(stack, script, 3)]
            door = await stack.enter_async_context(front(Settings(tmp_path, port=0), route(*backends)))
            answer = await asked(door, "/v1/chat/completions")
            assert "2 engines ended on this request" in answer.error
            assert TEXT.startswith(answer.text)
            assert not answer.done
            assert script.breaks == [3]

    run(story())


def test_what_cannot_be_continued_says_why_when_something_was_told(tmp_path: Path) -> None:
    async def story() -> None:
        script = Script(TEXT, breaks=[5])
        async with AsyncExitStack() as stack:
            backends = [each.backend for each in await engines(stack, script)]
            door = await stack.enter_async_context(front(Settings(tmp_path, port=0), route(*backends)))
            answer = await asked(door, "/v1/chat/completions", presence_penalty=0.5)
            assert "it counts the tokens of the answer" in answer.error
            assert TEXT.startswith(answer.text)
            assert "return_token_ids" not in script.asked[0]

    run(story())


def test_what_cannot_be_continued_is_run_again_when_only_its_opening_was_told(tmp_path: Path) -> None:
    async def story() -> None:
        script = Script(TEXT, breaks=[0])
        async with AsyncExitStack() as stack:
            backends = [each.backend for each in await engines(stack, script)]
            door = await stack.enter_async_context(front(Settings(tmp_path, port=0), route(*backends)))
            answer = await asked(door, "/v1/chat/completions", seed=1, temperature=1)
            assert (answer.text, answer.roles, len(answer.identities)) == (TEXT, ["assistant"], 1)
            assert script.paths == ["/v1/chat/completions"] * 2

    run(story())


def test_a_stream_that_a_parser_reads_is_not_continued_from_its_raw_text(tmp_path: Path) -> None:
    async def story() -> None:
        script = Script(TEXT, breaks=[5], delta_key="reasoning")
        async with AsyncExitStack() as stack:
            backends = [each.backend for each in await engines(stack, script)]
            door = await stack.enter_async_context(front(Settings(tmp_path, port=0), route(*backends)))
            assert "parser" in (await asked(door, "/v1/chat/completions")).error

    run(story())


@BOTH
def test_a_client_sees_the_same_bytes_as_without_token_ids(tmp_path: Path, path: str) -> None:
    async def story() -> None:
        script = Script(TEXT)
        async with engine(script.behave) as only, front(Settings(tmp_path, port=0), route(only.backend)) as door:
            async with door.post(PATHS[path], path) as response:
                through = await response.read()
            async with door.client.post(only.address + path, json=PATHS[path]) as response:
                assert through == await response.read()

    run(story())
