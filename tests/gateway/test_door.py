"""Who gets through the door: keys, paths, models; and what the gateway answers by itself."""

import asyncio
import json
from pathlib import Path

import aiohttp
import pytest

from elastic_deploy.gateway.settings import HoldLimits, Settings

from .stand_in import (
    CLIENT_KEY,
    engine,
    front,
    route,
    run,
    spoken,
    write_keys,
    write_routes,
)

ASK = {"model": "tiny", "prompt": "a secret prompt"}
BEARER = {"Authorization": f"Bearer {CLIENT_KEY}"}


async def error_of(response: aiohttp.ClientResponse) -> tuple[int, str]:
    """The status and code of an answer, which must be in OpenAI's error form."""
    error = (await response.json())["error"]
    assert set(error) == {"message", "type", "param", "code"}
    return response.status, error["code"]


@pytest.mark.parametrize("key", ["", "wrong", CLIENT_KEY[:-1], CLIENT_KEY + "x"])
@pytest.mark.parametrize("path", ["/v1/completions", "/tokenize"])
def test_without_the_right_key_nothing_reaches_an_engine(tmp_path: Path, key: str, path: str) -> None:
    async def story() -> None:
        async with engine() as e, front(Settings(tmp_path, port=0), route(e.backend)) as door:
            async with door.post(ASK, path, key) as response:
                assert await error_of(response) == (401, "invalid_api_key")
            assert not e.seen

    run(story())


def test_a_key_is_asked_for_before_anything_is_said_about_models(tmp_path: Path) -> None:
    async def story() -> None:
        async with front(Settings(tmp_path, port=0), route()) as door:
            async with door.post({"model": "unknown"}, key="wrong") as response:
                assert response.status == 401
            async with door.client.get("/v1/models") as response:
                assert response.status == 401

    run(story())


def test_a_key_of_one_deployment_does_not_open_another(tmp_path: Path) -> None:
    async def story() -> None:
        write_keys(tmp_path, "tiny")
        write_keys(tmp_path, "big", "sk-big")
        async with engine() as e, engine(deployment="big") as b:
            table = (route(e.backend), route(b.backend, model="big", deployment="big"))
            async with front(Settings(tmp_path, port=0), *table) as door:
                async with door.post({"model": "big"}) as response:
                    assert response.status == 401
                async with door.post({"model": "big"}, key="sk-big") as response:
                    assert (await response.json())["from"] == str(b.name)
                assert (len(e.seen), len(b.seen)) == (0, 1)

    run(story())


def test_keys_are_rotated_without_a_restart(tmp_path: Path) -> None:
    async def story() -> None:
        async with engine() as e, front(Settings(tmp_path, port=0), route(e.backend)) as door:
            write_keys(tmp_path, clients="new\nnewer")
            await asyncio.sleep(0.5)
            for key, status in (("new", 200), ("newer", 200), (CLIENT_KEY, 401)):
                async with door.post(ASK, key=key) as response:
                    assert response.status == status
            (tmp_path / "keys" / "tiny").unlink()
            await asyncio.sleep(0.5)
            async with door.post(ASK, key="new") as response:
                assert response.status == 401

    run(story())


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("POST", "/pause", 404),
        ("POST", "/invocations", 404),
        ("POST", "/v1/load_lora_adapter", 404),
        ("POST", "/v1/completions/../../pause", 404),
        ("POST", "/v1/%2e%2e/pause", 404),
        ("POST", "//pause", 404),
        ("GET", "/v1/completions", 405),
        ("DELETE", "/v1/models", 405),
        ("POST", "/metrics", 405),
    ],
)
def test_only_clients_paths_pass(tmp_path: Path, method: str, path: str, status: int) -> None:
    async def story() -> None:
        async with engine() as e, front(Settings(tmp_path, port=0), route(e.backend)) as door:
            request = f"{method} {path} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {CLIENT_KEY}\r\n\r\n"
            answered, body = await spoken(door.gateway.port, request.encode())
            assert answered == status
            assert set(json.loads(body)["error"]) == {"message", "type", "param", "code"}
            assert not e.seen

    run(story())


@pytest.mark.parametrize("body", [b"", b"{", b"[]", b"\xff", b"{}", b'{"model": 1}', b"[" * 100_000])
def test_a_malformed_body_is_a_400(tmp_path: Path, body: bytes) -> None:
    async def story() -> None:
        async with engine() as e, front(Settings(tmp_path, port=0), route(e.backend)) as door:
            async with door.client.post("/v1/completions", data=body, headers=BEARER) as response:
                assert await error_of(response) == (400, "invalid_request")
            assert not e.seen

    run(story())


def test_an_unknown_model_is_a_404(tmp_path: Path) -> None:
    async def story() -> None:
        async with front(Settings(tmp_path, port=0), route()) as door:
            async with door.post({"model": "other"}) as response:
                assert await error_of(response) == (404, "model_not_found")
            async with door.client.get("/v1/models/other", headers=BEARER) as response:
                assert await error_of(response) == (404, "model_not_found")

    run(story())


def test_all_models_are_listed_by_the_gateway_itself(tmp_path: Path) -> None:
    async def story() -> None:
        table = (route(model="org/big", deployment="big"), route())
        async with front(Settings(tmp_path, port=0), *table) as door:
            async with door.client.get("/v1/models", headers=BEARER) as response:
                assert [card["id"] for card in (await response.json())["data"]] == ["org/big", "tiny"]
            async with door.client.get("/v1/models/org/big", headers=BEARER) as response:
                assert (await response.json())["owned_by"] == "big"

    run(story())


def test_health_is_the_gateways_and_ready_is_the_engines(tmp_path: Path) -> None:
    async def story() -> None:
        async with engine() as e, front(Settings(tmp_path, port=0), route()) as door:
            async with door.client.get("/health") as response:
                assert response.status == 200
            async with door.client.get("/ready") as response:
                assert (response.status, (await response.json())["reason"]) == (503, "tiny is recovering")
            write_routes(tmp_path, route(e.backend))
            await asyncio.sleep(0.5)
            async with door.client.head("/ready") as response:
                assert response.status == 200
            assert not e.seen

    run(story())


def test_before_the_first_table_a_client_is_asked_to_come_again(tmp_path: Path) -> None:
    async def story() -> None:
        async with engine() as e, front(Settings(tmp_path, port=0)) as door:
            async with door.post(ASK) as response:
                assert await error_of(response) == (503, "model_unavailable")
            async with door.client.get("/ready") as response:
                assert response.status == 503
            write_routes(tmp_path, route(e.backend))
            await asyncio.sleep(0.5)
            async with door.post(ASK) as response:
                assert response.status == 200

    run(story())


def test_the_last_good_table_is_kept_when_the_next_is_broken_or_gone(tmp_path: Path) -> None:
    async def story() -> None:
        async with engine() as e, front(Settings(tmp_path, port=0), route(e.backend)) as door:
            (tmp_path / "routes.json").write_text('{"entries": [')
            await asyncio.sleep(0.5)
            assert [line["event"] for line in door.log].count("table_refused") == 1
            (tmp_path / "routes.json").unlink()
            await asyncio.sleep(0.5)
            async with door.post(ASK) as response:
                assert response.status == 200
            write_routes(tmp_path)
            await asyncio.sleep(0.5)
            async with door.post(ASK) as response:
                assert response.status == 401

    run(story())


def test_the_log_has_neither_prompts_nor_keys(tmp_path: Path) -> None:
    async def story() -> None:
        async with engine() as e, front(Settings(tmp_path, port=0), route(e.backend)) as door:
            for key in (CLIENT_KEY, "sk-wrong"):
                async with door.post(ASK, "/v1/completions?key=sk-query", key) as response:
                    await response.read()
            text = door.logged.getvalue()
            assert not [word for word in ("secret", "sk-") if word in text]
            assert [line["status"] for line in door.log if line["event"] == "request"] == [200, 401]

    run(story())


def test_metrics_tell_requests_by_deployment_replica_and_status(tmp_path: Path) -> None:
    async def story() -> None:
        async with engine() as e, front(Settings(tmp_path, port=0, hold=HoldLimits(0)), route(e.backend)) as door:
            for model in ("tiny", "tiny", "unknown"):
                async with door.post({"model": model}) as response:
                    await response.read()
            numbers = await door.metrics()
            name = "elastic_deploy_gateway_requests_total"
            assert numbers[name + '{deployment="tiny",replica="r0",status="200"}'] == 2
            assert numbers[name + '{deployment="",replica="",status="404"}'] == 1
            counted = 'elastic_deploy_gateway_first_byte_seconds_count{deployment="tiny",replica="r0"}'
            assert numbers[counted] == 2
            assert "unknown" not in str(numbers)

    run(story())
