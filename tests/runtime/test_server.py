"""The server's side of the agent protocol: what it understands, what it refuses, and what it leaves behind."""

import asyncio
import json
import logging
import stat
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any

import pytest

from elastic_deploy.cluster.wish import wish
from elastic_deploy.model.errors import ExitCode, UsageError
from elastic_deploy.model.front_door import CertificatePair, FrontDoorBounds, FrontDoorOptions, FrontDoorWish
from elastic_deploy.model.pool import Pool
from elastic_deploy.model.rung import Rung
from elastic_deploy.model.shape import Shape
from elastic_deploy.model.spec import Canary, DeploymentSpec, OnFailure
from elastic_deploy.runtime.payload import wish_of
from elastic_deploy.runtime.server import LONGEST_REQUEST
from elastic_deploy.runtime.socket_path import NAME

from .conversation import ask, connected, run, say, serving

SPEC = DeploymentSpec(
    "chat",
    "org/model",
    "chat-small",
    Shape(2, 2, 3),
    engine_arguments=("--seed", "1"),
    wait_timeout=None,
    engine_start_timeout=90.5,
    canary=Canary(1.0, 2.0, 5),
    max_engine_failures=9,
    on_failure=OnFailure.KEEP,
    drain_timeout=7.0,
    surge=True,
    pools=(Pool("a", ("gpu-a",), 4), Pool("b", ("gpu-b", "gpu-c"))),
    pool_timeout=60.0,
    partial_timeout=5.0,
    partial_budget=2.5,
    prices=(("gpu-a", 1.5),),
    rungs=(Rung(Shape(1, 1, 1), ("--max-model-len", "512")),),
    degrade_after=5.0,
)
PAIR = CertificatePair("-----BEGIN CERTIFICATE-----", "-----BEGIN PRIVATE KEY-----")
DOOR = FrontDoorWish(
    8123,
    FrontDoorOptions(certificate=PAIR.fingerprint, bounds=FrontDoorBounds(hold_timeout=5.0, max_connections=7)),
    PAIR,
)


def test_what_the_command_line_sends_is_what_the_supervisor_reads() -> None:
    for door in (DOOR, FrontDoorWish(8123)):
        assert wish_of(json.loads(json.dumps(wish(SPEC, door)))) == (SPEC, door)


def test_all_that_a_user_decides_is_sent() -> None:
    sent = set(wish(SPEC, DOOR)["deployment"]) - {field.name for field in fields(Shape)} | {"shape"}
    assert sent == {field.name for field in fields(DeploymentSpec)} - {
        "revision",
        "wanted",
        "former",
        "restoring",
        "full",
    }


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"port": None}, "int"),
        ({"door": 7}, "front_door|FrontDoorOptions"),
        ({"door": {"bounds": {"hold_timeout": "soon"}}}, "hold_timeout"),
        ({"tls": {"certificate": "another", "key": "the-private-key"}}, "its certificate is not the one"),
        ({"tls": {"key": "the-private-key"}}, "its certificate is not the one"),
        ({"tls": "the-private-key"}, "its certificate is not the one"),
    ],
)
def test_a_front_door_of_a_wrong_kind_is_refused_and_a_private_key_is_never_told(
    change: dict[str, Any], words: str
) -> None:
    with pytest.raises(UsageError, match=words) as refused:
        wish_of(wish(SPEC, DOOR) | change)
    assert "the-private-key" not in str(refused.value)
    assert "PRIVATE KEY" not in repr(wish_of(wish(SPEC, DOOR)))


def test_what_is_not_sent_has_its_default() -> None:
    minimal = {"name": "chat", "model": "m", "served_model_name": "m", **asdict(Shape(1, 1, 1))}
    assert wish_of({"deployment": minimal, "port": 1}) == (
        DeploymentSpec("chat", "m", "m", Shape(1, 1, 1)),
        FrontDoorWish(1),
    )


@pytest.mark.parametrize(
    "change",
    [
        {"name": None},
        {"wait_timeout": "soon"},
        {"engine_arguments": "--seed 1"},
        {"replicas": "many"},
        {"canary": {"period": "often"}},
        {"on_failure": "weep"},
    ],
)
def test_a_wish_of_a_wrong_kind_is_refused_before_it_is_kept(change: dict[str, Any]) -> None:
    payload = wish(SPEC, FrontDoorWish(8000))
    payload["deployment"] |= change
    with pytest.raises(UsageError, match="cannot read this deployment"):
        wish_of(payload)


@pytest.mark.parametrize("missing", ["name", "model", "served_model_name", "tensor_parallel"])
def test_a_wish_that_lacks_a_part_is_refused(missing: str) -> None:
    payload = wish(SPEC, FrontDoorWish(8000))
    del payload["deployment"][missing]
    with pytest.raises(UsageError, match=missing):
        wish_of(payload)


@pytest.mark.parametrize("payload", [{}, {"deployment": None, "port": 1}, {"deployment": [], "port": 1}])
def test_a_payload_without_a_wish_is_refused(payload: dict[str, Any]) -> None:
    with pytest.raises(UsageError):
        wish_of(payload)


def test_a_verb_is_answered_by_who_supervises(tmp_path: Path) -> None:
    async def story() -> None:
        async with serving(tmp_path) as talker:
            told = {"session": "s1", "cluster": "lab", "provider": "aws"}
            assert await ask(tmp_path, "hello", cluster="lab", provider="aws") == [{"ok": told}]
            assert await ask(tmp_path, "apply", **wish(SPEC, DOOR)) == [{"ok": {"changed": True}}]
            assert talker.applied == [(SPEC, DOOR)]
            assert await ask(tmp_path, "keys", action="list") == [{"ok": {"action": "list"}}]
            assert await ask(tmp_path, "logs") == []
            talker.news = [{"id": "1"}, {"id": "2"}, {"id": "3"}]
            assert await ask(tmp_path, "events", after="1") == [{"ok": {"id": "2"}}, {"ok": {"id": "3"}}]

    run(story())


@pytest.mark.parametrize(
    ("request_bytes", "words"),
    [
        (b'{"verb": "dance"}\n', "does not know 'dance'"),
        (b"{\n", "cannot read this request"),
        (b"\n", "cannot read this request"),
        (b"[]\n", "cannot read this request"),
        (b"null\n", "cannot read this request"),
        (b'{"payload": {}}\n', "cannot read this request"),
        (b'{"verb": "status", "payload": 7}\n', "cannot read this request"),
        (b"\xff\xfe\n", "cannot read this request"),
        (b'{"verb": "apply", "payload": {}}\n', "cannot read this deployment"),
        (b'"' + b"x" * (LONGEST_REQUEST + 10) + b'"\n', f"at most {LONGEST_REQUEST} bytes"),
    ],
    ids=["verb", "json", "empty", "list", "null", "no verb", "payload", "bytes", "wish", "too long"],
)
def test_what_is_no_request_is_refused_in_a_sentence_and_the_next_is_answered(
    tmp_path: Path, request_bytes: bytes, words: str
) -> None:
    async def story() -> None:
        async with serving(tmp_path):
            [answer] = await say(tmp_path, request_bytes)
            assert answer["error"]["code"] == ExitCode.USAGE
            assert words in answer["error"]["message"]
            assert answer["error"]["message"].endswith(".")
            assert "ok" in (await ask(tmp_path, "hello"))[0]

    run(story())


def test_an_error_for_a_person_keeps_its_exit_code(tmp_path: Path) -> None:
    async def story() -> None:
        async with serving(tmp_path):
            [answer] = await ask(tmp_path, "stop", deployment="chat")
            assert answer == {"error": {"code": ExitCode.NEVER_FITS, "message": "chat cannot be stopped."}}

    run(story())


def test_a_bug_is_said_to_be_one_and_logged(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    async def story() -> None:
        async with serving(tmp_path):
            [answer] = await ask(tmp_path, "status")
            assert answer["error"]["code"] == ExitCode.INTERNAL
            assert "ZeroDivisionError: a bug" in answer["error"]["message"]

    with caplog.at_level(logging.ERROR):
        run(story())
    assert "Traceback" in caplog.text


def test_a_listener_hears_events_as_they_come(tmp_path: Path) -> None:
    async def story() -> None:
        async with serving(tmp_path) as talker, connected(tmp_path) as (reader, writer):
            writer.write(b'{"verb": "events", "payload": {"follow": true}}\n')
            for number in range(3):
                talker.news.append({"id": str(number)})
                assert json.loads(await reader.readline()) == {"ok": {"id": str(number)}}
            writer.close()

    run(story())


def test_a_listener_that_goes_away_while_nothing_happens_leaves_nothing_behind(tmp_path: Path) -> None:
    async def story() -> None:
        async with serving(tmp_path) as talker:
            for _ in range(5):
                async with connected(tmp_path) as (_, writer):
                    writer.write(b'{"verb": "events", "payload": {"follow": true}}\n')
                    while not talker.listeners:
                        await asyncio.sleep(0.01)
                while talker.listeners:
                    await asyncio.sleep(0.01)

    run(story())


def test_a_listener_that_goes_away_in_the_middle_of_much_news_leaves_nothing_behind(tmp_path: Path) -> None:
    async def story() -> None:
        async with serving(tmp_path) as talker:
            talker.news = [{"id": str(number), "text": "x" * 5000} for number in range(2000)]
            async with connected(tmp_path) as (reader, writer):
                writer.write(b'{"verb": "events", "payload": {"follow": true}}\n')
                assert await reader.readline()

    run(story())


def test_a_connection_that_asks_nothing_and_goes_leaves_nothing_behind(tmp_path: Path) -> None:
    async def story() -> None:
        async with serving(tmp_path):
            async with connected(tmp_path):
                pass
            async with connected(tmp_path) as (_, writer):
                writer.write(b'{"verb": ')

    run(story())


def test_one_that_listens_holds_up_no_other(tmp_path: Path) -> None:
    async def story() -> None:
        async with serving(tmp_path), connected(tmp_path) as (_, writer):
            writer.write(b'{"verb": "events", "payload": {"follow": true}}\n')
            assert "ok" in (await ask(tmp_path, "hello"))[0]
            writer.close()

    run(story())


def test_the_socket_is_its_users_alone_and_one_left_by_a_dead_supervisor_is_replaced(tmp_path: Path) -> None:
    async def story() -> None:
        async with serving(tmp_path):
            assert stat.S_IMODE((tmp_path / NAME).stat().st_mode) == 0o600
            async with serving(tmp_path):
                assert "ok" in (await ask(tmp_path, "hello"))[0]

    run(story())


def test_a_socket_deep_down_in_long_directories_can_be_served_and_reached(tmp_path: Path) -> None:
    deep = tmp_path / ("d" * 200) / ("e" * 200)
    deep.mkdir(parents=True)

    async def story() -> None:
        async with serving(deep):
            assert "ok" in (await ask(deep, "hello"))[0]

    run(story())
