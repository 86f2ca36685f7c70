"""What a client does wrong, on purpose or not, and what it is told: a table of every kind, through every part.

In each row the status and the code of OpenAI's error form, nothing at an engine, and an honest request after it. What
is near to right is tried by the thousand in test_fuzz; bounds with a clock are in test_bounds.
"""

import asyncio
import json
from pathlib import Path

import pytest
from aiohttp import web

from elastic_deploy.gateway.settings import ClientLimits, HoldLimits, Settings

from .raw_http import Answer, read_answer
from .stand_in import CLIENT_KEY, StandIn, engine, front, route, run

KEY = f"Authorization: Bearer {CLIENT_KEY}"
ASK = json.dumps({"model": "tiny", "prompt": "a secret prompt"})
MOST = 10_000


def post(body: str | bytes = ASK, *headers: str, path: str = "/v1/completions", key: str = KEY) -> bytes:
    """A request that is right but for what is given."""
    raw = body.encode() if isinstance(body, str) else body
    lines = [f"POST {path} HTTP/1.1", "Host: x", *([key] if key else []), *headers]
    if not any(header.lower().startswith(("content-length", "transfer-encoding")) for header in headers):
        lines.append(f"Content-Length: {len(raw)}")
    return "\r\n".join(lines).encode("utf-8", "surrogateescape") + b"\r\n\r\n" + raw


def get(path: str, *headers: str, method: str = "GET") -> bytes:
    return "\r\n".join([f"{method} {path} HTTP/1.1", "Host: x", *headers]).encode() + b"\r\n\r\n"


WRONG = {
    "no key": (post(key=""), 401, "invalid_api_key"),
    "an empty key": (post(key="Authorization: Bearer "), 401, "invalid_api_key"),
    "a wrong key": (post(key="Authorization: Bearer wrong"), 401, "invalid_api_key"),
    "the key with another scheme": (post(key=f"Authorization: Basic {CLIENT_KEY}"), 401, "invalid_api_key"),
    "the key in another header": (post(key=f"X-Api-Key: {CLIENT_KEY}"), 401, "invalid_api_key"),
    "the key in the query": (post(path=f"/v1/completions?api_key={CLIENT_KEY}", key=""), 401, "invalid_api_key"),
    "a key of bytes that are no text": (post(key="Authorization: Bearer \udcff\udcfe"), 401, "invalid_api_key"),
    "no key, and a body too large": (post("x" * (MOST + 1), key=""), 401, "invalid_api_key"),
    "the models without a key": (get("/v1/models"), 401, "invalid_api_key"),
    "an unknown path": (post(path="/v1/files"), 404, "unknown_url"),
    "an engine's administrative path": (post(path="/v1/load_lora_adapter"), 404, "unknown_url"),
    "a path out of the allowed ones": (post(path="/v1/completions/../../pause"), 404, "unknown_url"),
    "an allowed path, encoded": (post(path="/v1/%63ompletions"), 404, "unknown_url"),
    "an allowed path in capitals": (post(path="/V1/Completions"), 404, "unknown_url"),
    "an allowed path and a slash": (post(path="/v1/completions/"), 404, "unknown_url"),
    "an allowed path after a slash": (post(path="//v1/completions"), 404, "unknown_url"),
    "a method that nobody knows": (get("/v1/completions", KEY, method="BREW"), 400, "invalid_request"),
    "a wrong method": (get("/v1/completions", KEY, method="DELETE"), 405, "method_not_allowed"),
    "a write to what is read": (get("/v1/models", KEY, method="PUT"), 405, "method_not_allowed"),
    "an unknown model": (post('{"model": "other"}'), 404, "model_not_found"),
    "a model that is not there now": (post('{"model": "away"}'), 503, "model_unavailable"),
    "no body": (post(""), 400, "invalid_request"),
    "half a body of JSON": (post(ASK[:-5]), 400, "invalid_request"),
    "JSON that is no object": (post("[]"), 400, "invalid_request"),
    "no model": (post('{"prompt": "x"}'), 400, "invalid_request"),
    "a model that is no name": (post('{"model": ["tiny"]}'), 400, "invalid_request"),
    "nested without end": (post('{"a":' * 1900), 400, "invalid_request"),
    "a number without end": (post(f'{{"model": "tiny", "n": {"9" * 5000}}}'), 400, "invalid_request"),
    "bytes that are no text": (post(b'{"model": "tiny", "prompt": "\xff"}'), 400, "invalid_request"),
    "packed, but not": (post(ASK, "Content-Encoding: gzip"), 400, "invalid_request"),
    "a body too large by its length": (post("x", f"Content-Length: {MOST + 1}"), 413, "request_too_large"),
    "a body too large in chunks": (
        post(b"%x\r\n%b\r\n0\r\n\r\n" % (MOST + 1, b"x" * (MOST + 1)), "Transfer-Encoding: chunked"),
        413,
        "request_too_large",
    ),
    "a header too long": (post(ASK, "X: " + "a" * 9000), 431, "headers_too_large"),
    "a target too long": (get("/" + "a" * 9000), 431, "headers_too_large"),
    "headers without end": (post(ASK, *(f"X-{n}: a" for n in range(200))), 400, "invalid_request"),
    "a length and chunks": (post(ASK, "Content-Length: 5", "Transfer-Encoding: chunked"), 400, "invalid_request"),
    "two lengths": (post(ASK, f"Content-Length: {len(ASK)}", "Content-Length: 3"), 400, "invalid_request"),
    "a length that is no number": (post(ASK, "Content-Length: 0x10"), 400, "invalid_request"),
    "a length below nothing": (post(ASK, "Content-Length: -1"), 400, "invalid_request"),
    "chunks under another name": (post(ASK, "Transfer-Encoding: xchunked"), 400, "invalid_request"),
    "a header over two lines": (post(ASK, "X: a\r\n b"), 400, "invalid_request"),
    "a space before the colon": (post(ASK, "X : a"), 400, "invalid_request"),
    "an end of line in a header": (post(ASK, "X: a\nb: c"), 400, "invalid_request"),
    "a zero byte in a header": (post(ASK, "X: a\x00b"), 400, "invalid_request"),
    "no HTTP": (b"SSH-2.0-OpenSSH\r\n\r\n", 400, "invalid_request"),
    "TLS": (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n", 400, "invalid_request"),
}


async def answer_to(port: int, sent: bytes) -> Answer:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(sent)
    try:
        async with asyncio.timeout(10):
            answer = await read_answer(reader)
    finally:
        writer.close()
    assert answer is not None
    return answer


@pytest.mark.parametrize(("sent", "status", "code"), WRONG.values(), ids=WRONG.keys())
def test_what_is_wrong_is_told_and_goes_nowhere(tmp_path: Path, sent: bytes, status: int, code: str) -> None:
    async def story() -> None:
        settings = Settings(tmp_path, port=0, client=ClientLimits(body=MOST), hold=HoldLimits(seconds=0))
        async with engine() as e, front(settings, route(e.backend), route(model="away")) as door:
            answer = await answer_to(door.gateway.port, sent)
            error = answer.document["error"]
            assert (answer.status, error["code"]) == (status, code)
            assert set(error) == {"message", "type", "param", "code"}
            assert error["type"] == ("server_error" if status >= 500 else "invalid_request_error")
            assert answer.headers["content-type"].startswith("application/json")
            assert not e.seen
            for told in (answer.body.decode(), door.logged.getvalue()):
                assert CLIENT_KEY not in told
                assert "secret" not in told
            assert "internal_error" not in door.logged.getvalue()
            assert (await answer_to(door.gateway.port, post())).status == 200
            assert len(e.seen) == 1

    run(story())


def test_nothing_of_a_clients_headers_reaches_an_engine(tmp_path: Path) -> None:
    """But the type of its body: neither its key, nor cookies, nor what could steer the engine."""

    async def story() -> None:
        async with engine() as e, front(Settings(tmp_path, port=0), route(e.backend)) as door:
            headers = ("Cookie: a=b", "X-Forwarded-For: 1.2.3.4", "X-Request-Id: mine", "Connection: X-Request-Id")
            more = ("X-Data-Parallel-Rank: 1", "Content-Type: application/json; a=b", "TE: trailers", "Accept: */*")
            assert (await answer_to(door.gateway.port, post(ASK, *headers, *more))).status == 200
            [(_, passed, _)] = e.seen
            names = {"host", "content-type", "content-length", "x-request-id", "authorization"}
            assert {name.lower() for name in passed} == names
            assert passed["X-Request-Id"] != "mine"
            assert CLIENT_KEY not in passed["Authorization"]

    run(story())


async def redirect(_: StandIn, __: web.Request) -> web.StreamResponse:
    """An engine that sends its clients elsewhere: to itself as the gateway sees it."""
    headers = {"Location": "http://127.0.0.1:1/secret", "Set-Cookie": "a=b", "Server": "engine", "X-Internal": "1"}
    return web.Response(status=307, headers=headers)


def test_an_engines_redirect_is_not_followed_and_its_headers_stay_inside(tmp_path: Path) -> None:
    async def story() -> None:
        async with engine(redirect) as e, front(Settings(tmp_path, port=0), route(e.backend)) as door:
            answer = await answer_to(door.gateway.port, post())
            assert answer.status == 307
            assert not {"location", "set-cookie", "x-internal"} & set(answer.headers)
            assert len(e.seen) == 1

    run(story())


@pytest.mark.parametrize(
    "says",
    [
        *(
            b"data: 1\n\n",
            b"data: {}\n\n",
            b'data: {"choices": [1]}\n\n',
            b'data: {"choices": [{}, {}]}\n\n',
            b"data: \n\n",
        ),
        *(b'data: {"choices": [{"delta": 1}]}\n\n', b'data: {"choices": [{"text": 1}]}\n\n', b"\xff\n\n", b": x\n\n"),
        *(b'data: {"choices": [{"delta": {"content": 1}, "token_ids": ["x"]}]}\n\n', b"event: x\ndata: y\n\n"),
    ],
)
def test_an_engine_that_talks_nonsense_in_a_stream_is_no_fault_of_ours(tmp_path: Path, says: bytes) -> None:
    async def talk(_: StandIn, request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
        await response.prepare(request)
        await response.write(says + b"data: [DONE]\n\n")
        return response

    async def story() -> None:
        async with engine(talk) as e, front(Settings(tmp_path, port=0), route(e.backend)) as door:
            asked = json.dumps({"model": "tiny", "messages": [], "stream": True})
            answer = await answer_to(door.gateway.port, post(asked, path="/v1/chat/completions"))
            assert (answer.status, answer.body[-14:]) == (200, b"data: [DONE]\n\n")
            assert "internal_error" not in door.logged.getvalue()

    run(story())
