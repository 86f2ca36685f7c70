"""OpenAI's own client, unchanged, through the gateway: the form of answers, streams and errors is the one it reads."""

import asyncio
import base64
import json
import struct
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from elastic_deploy.gateway.settings import HoldLimits, Settings
from elastic_deploy.gateway.sse import END, data_event

from .stand_in import CLIENT_KEY, StandIn, die_in_stream, engine, front, hang, route, run, stream, write_routes
from .token_engine import Script

openai = pytest.importorskip("openai", reason="openai comes with the rehearsal engine")

MESSAGES = [{"role": "user", "content": "hello"}]


async def complete(_: StandIn, __: aiohttp.web.Request) -> aiohttp.web.StreamResponse:
    """A chat completion as vLLM sends it."""
    message = {"role": "assistant", "content": "hello back"}
    choice = {"index": 0, "message": message, "finish_reason": "stop"}
    document = {"id": "chatcmpl-1", "object": "chat.completion", "created": 1, "model": "tiny", "choices": [choice]}
    return aiohttp.web.json_response(document)


def client_of(port: int, key: str = CLIENT_KEY) -> Any:
    return openai.AsyncOpenAI(base_url=f"http://127.0.0.1:{port}/v1", api_key=key, max_retries=0, timeout=20)


def test_it_gets_an_answer(tmp_path: Path) -> None:
    async def story() -> None:
        async with (
            engine(complete) as e,
            front(Settings(tmp_path, port=0), route(e.backend)) as door,
            client_of(door.gateway.port) as client,
        ):
            answer = await client.chat.completions.create(model="tiny", messages=MESSAGES)
            assert answer.choices[0].message.content == "hello back"
            assert answer._request_id == door.log[-1]["id"]
            assert [model.id async for model in client.models.list()] == ["tiny"]
            assert (await client.models.retrieve("tiny")).id == "tiny"

    run(story())


def test_it_gets_a_stream(tmp_path: Path) -> None:
    async def story() -> None:
        async with (
            engine(stream) as e,
            front(Settings(tmp_path, port=0), route(e.backend)) as door,
            client_of(door.gateway.port) as client,
        ):
            for _ in range(e.events):
                e.step.release()
            answer = await client.chat.completions.create(model="tiny", messages=MESSAGES, stream=True)
            assert [piece.choices[0].delta.content async for piece in answer] == ["0", "1", "2"]

    run(story())


def test_it_raises_when_a_stream_breaks_and_has_what_came_before(tmp_path: Path) -> None:
    async def story() -> None:
        async with (
            engine(die_in_stream) as e,
            front(Settings(tmp_path, port=0), route(e.backend)) as door,
            client_of(door.gateway.port) as client,
        ):
            answer = await client.chat.completions.create(model="tiny", messages=MESSAGES, stream=True)
            pieces = aiter(answer)
            assert (await anext(pieces)).choices[0].delta.content == "0"
            with pytest.raises(openai.APIError, match="in the middle of this answer"):
                await anext(pieces)

    run(story())


def test_it_reads_a_stream_that_waited_broke_and_went_on_as_one(tmp_path: Path) -> None:
    async def story() -> None:
        script = Script("I say héllo 🎉 to you.", breaks=[11])
        settings = Settings(tmp_path, port=0, hold=HoldLimits(comment=0.05))
        async with (
            engine(script.behave) as dying,
            engine(script.behave, generation=2) as next_one,
            front(settings, route()) as door,
            client_of(door.gateway.port) as client,
        ):
            options: dict[str, Any] = {"stream_options": {"include_usage": True}, "temperature": 0}
            answer = await client.chat.completions.create(model="tiny", messages=MESSAGES, stream=True, **options)
            write_routes(tmp_path, route(dying.backend))
            pieces = [await anext(answer)]
            write_routes(tmp_path, route(next_one.backend))
            pieces += [piece async for piece in answer]
            assert "".join(piece.choices[0].delta.content for piece in pieces if piece.choices) == script.answer
            assert len({piece.id for piece in pieces}) == 1
            assert pieces[-1].usage.completion_tokens == len(script.tokens)
            assert script.paths[-1] == "/v1/completions"

    run(story())


def test_it_raises_when_a_wait_ends_badly_after_its_stream_began(tmp_path: Path) -> None:
    async def story() -> None:
        settings = Settings(tmp_path, port=0, hold=HoldLimits(seconds=0.3, comment=0.05))
        async with front(settings, route()) as door, client_of(door.gateway.port) as client:
            answer = await client.chat.completions.create(model="tiny", messages=MESSAGES, stream=True)
            with pytest.raises(openai.APIError, match="tiny is recovering"):
                await anext(aiter(answer))

    run(story())


def test_it_names_our_errors(tmp_path: Path) -> None:
    async def story() -> None:
        async with front(Settings(tmp_path, port=0, hold=HoldLimits(seconds=0)), route()) as door:
            async with client_of(door.gateway.port) as client:
                with pytest.raises(openai.InternalServerError, match="tiny is recovering") as unavailable:
                    await client.chat.completions.create(model="tiny", messages=MESSAGES)
                assert (unavailable.value.status_code, unavailable.value.code) == (503, "model_unavailable")
                with pytest.raises(openai.NotFoundError, match="does not exist"):
                    await client.chat.completions.create(model="other", messages=MESSAGES)
            async with client_of(door.gateway.port, "wrong") as client:
                with pytest.raises(openai.AuthenticationError):
                    await client.models.list()

    run(story())


async def of_each_kind(_: StandIn, request: aiohttp.web.Request) -> aiohttp.web.StreamResponse:
    """What vLLM answers to a completion, whole or streamed, and to embeddings as OpenAI's client asks for them."""
    asked = await request.json()
    common = {"id": "cmpl-1", "created": 1, "model": "tiny"}
    if request.path == "/v1/embeddings":
        assert asked["encoding_format"] == "base64"
        vector = base64.b64encode(struct.pack("<3f", 0.5, -1.0, 2.0)).decode()
        data = [{"object": "embedding", "index": number, "embedding": vector} for number in range(len(asked["input"]))]
        return aiohttp.web.json_response({"object": "list", "data": data, "model": "tiny", "usage": {}})
    text = str(len(asked["prompt"]))
    if not asked.get("stream"):
        choice = {"index": 0, "text": text, "finish_reason": "stop"}
        return aiohttp.web.json_response({**common, "object": "text_completion", "choices": [choice]})
    response = aiohttp.web.StreamResponse(headers={"Content-Type": "text/event-stream"})
    await response.prepare(request)
    for digit in text:
        await response.write(data_event({**common, "choices": [{"index": 0, "text": digit}]}))
    await response.write(END)
    return response


def test_it_gets_completions_whole_and_streamed_and_embeddings(tmp_path: Path) -> None:
    async def story() -> None:
        async with (
            engine(of_each_kind) as e,
            front(Settings(tmp_path, port=0), route(e.backend)) as door,
            client_of(door.gateway.port) as client,
        ):
            whole = await client.completions.create(model="tiny", prompt="twelve chars")
            assert whole.choices[0].text == "12"
            pieces = await client.completions.create(model="tiny", prompt="twelve chars", stream=True)
            assert [piece.choices[0].text async for piece in pieces] == ["1", "2"]
            vectors = await client.embeddings.create(model="tiny", input=["a", "b"])
            assert [each.embedding for each in vectors.data] == [[0.5, -1.0, 2.0]] * 2

    run(story())


@pytest.mark.parametrize("streamed", [False, True])
def test_a_request_of_a_megabyte_arrives_whole(tmp_path: Path, streamed: bool) -> None:
    async def story() -> None:
        async with (
            engine(of_each_kind) as e,
            front(Settings(tmp_path, port=0), route(e.backend)) as door,
            client_of(door.gateway.port) as client,
        ):
            prompt = "héllo " * 200_000
            answer = await client.completions.create(model="tiny", prompt=prompt, stream=streamed)
            pieces = [piece async for piece in answer] if streamed else [answer]
            assert "".join(piece.choices[0].text for piece in pieces) == str(len(prompt))
            assert json.loads(e.seen[-1][2])["prompt"] == prompt

    run(story())


@pytest.mark.parametrize("streamed", [False, True])
def test_an_engine_sees_at_once_that_a_request_was_cancelled(tmp_path: Path, streamed: bool) -> None:
    async def story() -> None:
        async with (
            engine(stream if streamed else hang) as e,
            front(Settings(tmp_path, port=0), route(e.backend)) as door,
            client_of(door.gateway.port) as client,
        ):
            asking = client.chat.completions.create(model="tiny", messages=MESSAGES, stream=streamed)
            if streamed:
                e.step.release()
                answer = await asking
                assert (await anext(aiter(answer))).choices[0].delta.content == "0"
                await answer.close()
            else:
                task = asyncio.ensure_future(asking)
                await e.arrived.wait()
                task.cancel()
            await asyncio.wait_for(e.gone.wait(), 10)
            for _ in range(200):
                if (await door.metrics())['elastic_deploy_gateway_outstanding{deployment="tiny",replica="r0"}'] == 0:
                    return
                await asyncio.sleep(0.05)
            raise AssertionError("the request is still counted")

    run(story())
