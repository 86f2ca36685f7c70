"""What the supervisor makes of a wish for the front door, and of requests about keys: what it keeps, says and tells.

Without Ray: its observer and what carries its decisions out are left away, and its loop does not run.
"""

import asyncio
from collections.abc import Awaitable
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeVar
from unittest.mock import Mock

import pytest

from elastic_deploy.model.errors import InvalidConfigError
from elastic_deploy.model.front_door import CertificatePair, FrontDoorBounds, FrontDoorOptions, FrontDoorWish
from elastic_deploy.model.shape import Shape
from elastic_deploy.model.spec import DeploymentSpec
from elastic_deploy.runtime import supervisor as module
from elastic_deploy.runtime.certificate_files import certificate_path, key_path
from elastic_deploy.runtime.supervisor import Supervisor
from tests.certificates import write_pair
from tests.runtime.test_front_door import free_port

SPEC = DeploymentSpec("chat", "m", "m", Shape(1, 1, 1))
T = TypeVar("T")


@pytest.fixture
def one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Supervisor:
    monkeypatch.setattr(module, "Observer", Mock())
    monkeypatch.setattr(module, "Applier", Mock())
    return started(tmp_path)


def started(tmp_path: Path) -> Supervisor:
    directory = tmp_path / "head"
    directory.mkdir(exist_ok=True)
    return Supervisor(directory, "127.0.0.1:1", "session", tmp_path, "127.0.0.1")


def done(doing: Awaitable[T]) -> T:
    async def limited() -> T:
        async with asyncio.timeout(20):
            return await doing

    return asyncio.run(limited())


def endpoint(one: Supervisor) -> str:
    return str(one.status()["deployments"][0]["endpoint"])


def with_pair(tmp_path: Path, port: int, name: str = "tls") -> FrontDoorWish:
    pair = CertificatePair(*(file.read_text() for file in write_pair(tmp_path, name)))
    return FrontDoorWish(port, FrontDoorOptions(certificate=pair.fingerprint), pair)


def applied(one: Supervisor, door: FrontDoorWish, name: str = "chat") -> dict[str, Any]:
    """`apply`'s answer; it says what `compare` said before, and a second time nothing changes."""
    spec = replace(SPEC, name=name)
    promised = one.compare(spec, replace(door, pair=None))
    answer = done(one.apply(spec, door))
    assert answer["difference"] == [*promised["difference"], *promised["front_door"]]
    assert one.compare(spec, door)["front_door"] == []
    assert done(one.apply(spec, door))["changed"] is False
    return answer


def test_the_first_one_is_no_difference_and_each_change_is_one(one: Supervisor, tmp_path: Path) -> None:
    port = free_port()
    assert applied(one, FrontDoorWish(port))["difference"] == []
    assert endpoint(one) == f"http://127.0.0.1:{port}/v1"
    secure = with_pair(tmp_path, port)
    assert applied(one, secure)["difference"] == ["scheme: http -> https"]
    assert endpoint(one) == f"https://127.0.0.1:{port}/v1"
    assert secure.pair
    assert key_path(tmp_path / "head").read_text() == secure.pair.key
    renewed = with_pair(tmp_path, port, "renewed")
    answer = applied(one, renewed)
    assert (answer["changed"], answer["difference"]) == (True, ["certificate: another one, taken up without a restart"])
    assert renewed.pair
    assert certificate_path(tmp_path / "head").read_text() == renewed.pair.certificate
    bounded = replace(renewed, options=replace(renewed.options, bounds=FrontDoorBounds(hold_timeout=60.0)))
    assert applied(one, bounded)["difference"] == ["hold_timeout: (default) -> 1m"]
    assert applied(one, FrontDoorWish(port))["difference"] == ["scheme: https -> http", "hold_timeout: 1m -> (default)"]
    assert not key_path(tmp_path / "head").exists()


def test_another_deployment_sees_what_it_changes_for_all(one: Supervisor) -> None:
    port, other = free_port(), free_port()
    applied(one, FrontDoorWish(port))
    assert applied(one, FrontDoorWish(other), "second")["difference"] == [f"port: {port} -> {other}"]


def test_the_next_supervisor_finds_it_and_no_secret_lies_where_none_belongs(one: Supervisor, tmp_path: Path) -> None:
    secure = with_pair(tmp_path, free_port())
    key = applied(one, secure)["api_key"]
    assert endpoint(started(tmp_path)).startswith("https://")
    for name in ("state.json", "journal.jsonl"):
        text = (tmp_path / "head" / name).read_text()
        assert key not in text
        assert "PRIVATE" not in text
        assert "CERTIFICATE" not in text


def test_a_certificate_that_cannot_be_used_changes_nothing(one: Supervisor, tmp_path: Path) -> None:
    port = free_port()
    applied(one, FrontDoorWish(port))
    good, other = with_pair(tmp_path, port), with_pair(tmp_path, port, "other")
    assert good.pair
    assert other.pair
    with pytest.raises(InvalidConfigError, match="does not belong"):
        done(one.apply(SPEC, replace(good, pair=CertificatePair(good.pair.certificate, other.pair.key))))
    assert endpoint(one).startswith("http://")
    assert not key_path(tmp_path / "head").exists()


def test_what_up_hands_out_is_the_first_key_and_changes_are_journalled_by_their_ids(
    one: Supervisor, tmp_path: Path
) -> None:
    door = FrontDoorWish(free_port())
    first = applied(one, door)["api_key"]
    new = done(one.keys({"action": "rotate"}))
    assert done(one.apply(SPEC, door))["api_key"] == new["key"] != first
    assert one.client_key("chat") == new["key"]
    [old] = new["valid"]
    done(one.keys({"action": "revoke", "id": old}))
    journal = (tmp_path / "head" / "journal.jsonl").read_text()
    assert f"key {new['id']} is handed out from now on" in journal
    assert f"key {old} was revoked" in journal
    assert first not in journal
    assert new["key"] not in journal
