"""The gateway as a process: `python -m elastic_deploy.gateway`, its announcement, its signals, its exit status."""

import asyncio
import contextlib
import json
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from .stand_in import CLIENT_KEY, answer, engine, event, route, run, stream, write_keys, write_routes

LIMIT = 20.0


@contextlib.contextmanager
def process(directory: Path, *flags: str) -> Iterator["subprocess.Popen[str]"]:
    """A gateway that is ended, whatever happens."""
    command = [sys.executable, "-W", "error", "-m", "elastic_deploy.gateway", "--dir", str(directory), *flags]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as started:
        try:
            yield started
        finally:
            started.kill()


def announced(directory: Path) -> dict[str, Any]:
    """What gateway.json says, once it is there."""
    deadline = time.monotonic() + LIMIT
    path = directory / "gateway.json"
    while not path.exists():
        assert time.monotonic() < deadline, "the gateway does not listen"
        time.sleep(0.05)
    found: dict[str, Any] = json.loads(path.read_text())
    return found


def test_a_gateway_says_where_it_listens_and_withdraws_it_at_its_end(tmp_path: Path) -> None:
    with process(tmp_path, "--port", "0") as gateway:
        where = announced(tmp_path)
        assert where["pid"] == gateway.pid
        assert abs(where["started_at"] - time.time()) < LIMIT
        assert (tmp_path / "gateway.json").stat().st_mode & 0o777 == 0o600
        socket.create_connection((where["host"], where["port"]), timeout=5).close()
        gateway.send_signal(signal.SIGTERM)
        assert gateway.wait(LIMIT) == 0
    assert not (tmp_path / "gateway.json").exists()


def test_a_taken_port_is_status_3_with_a_sentence_and_nothing_announced(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with process(tmp_path, "--port", str(port)) as gateway:
            assert gateway.wait(LIMIT) == 3
            assert gateway.stderr is not None
            said = gateway.stderr.read()
    assert said == f"The gateway cannot listen on 127.0.0.1:{port}: the port is in use. Choose another with --port.\n"
    assert not (tmp_path / "gateway.json").exists()


@pytest.mark.parametrize("host", ["192.0.2.1", "no.such.host.invalid"])
def test_an_address_that_is_not_this_machines_is_status_3(tmp_path: Path, host: str) -> None:
    with process(tmp_path, "--host", host, "--port", "0") as gateway:
        assert gateway.wait(LIMIT) == 3


@pytest.mark.parametrize("flags", [("--port", "x"), ("--port", "70000"), ("--hold-timeout", "soon"), ("--no-such",)])
def test_a_wrong_command_line_is_status_2(tmp_path: Path, flags: tuple[str, ...]) -> None:
    with process(tmp_path, *flags) as gateway:
        assert gateway.wait(LIMIT) == 2


def test_a_killed_gateway_is_followed_by_one_on_the_same_port(tmp_path: Path) -> None:
    with process(tmp_path, "--port", "0") as first:
        port = announced(tmp_path)["port"]
        client = socket.create_connection(("127.0.0.1", port), timeout=5)
        first.kill()
        first.wait(LIMIT)
        (tmp_path / "gateway.json").unlink()
        with process(tmp_path, "--port", str(port)) as second:
            assert announced(tmp_path)["pid"] == second.pid
        client.close()


def test_a_stopping_gateway_finishes_its_streams_and_takes_no_more(tmp_path: Path) -> None:
    async def story() -> None:
        async with engine(stream) as e:
            write_keys(tmp_path)
            write_routes(tmp_path, route(e.backend))
            with process(tmp_path, "--port", "0") as gateway:
                port = (await asyncio.to_thread(announced, tmp_path))["port"]
                async with aiohttp.ClientSession(f"http://127.0.0.1:{port}") as client:
                    e.step.release()
                    headers = {"Authorization": f"Bearer {CLIENT_KEY}"}
                    ask = {"model": "tiny", "stream": True}
                    async with client.post("/v1/completions", json=ask, headers=headers) as response:
                        assert await response.content.readuntil(b"\n\n") == event("0")
                        gateway.send_signal(signal.SIGTERM)
                        await asyncio.sleep(0.5)
                        assert gateway.poll() is None
                        with pytest.raises(ConnectionRefusedError):
                            await asyncio.open_connection("127.0.0.1", port)
                        e.step.release()
                        e.step.release()
                        assert (await response.content.read()).endswith(b"data: [DONE]\n\n")
                assert await asyncio.to_thread(gateway.wait, LIMIT) == 0

    run(story())


def test_a_stopping_gateway_cuts_off_what_outlasts_its_limit(tmp_path: Path) -> None:
    async def story() -> None:
        async with engine(stream) as e:
            write_keys(tmp_path)
            write_routes(tmp_path, route(e.backend))
            with process(tmp_path, "--port", "0", "--drain-timeout", "0.5s") as gateway:
                port = (await asyncio.to_thread(announced, tmp_path))["port"]
                async with aiohttp.ClientSession(f"http://127.0.0.1:{port}") as client:
                    e.step.release()
                    headers = {"Authorization": f"Bearer {CLIENT_KEY}"}
                    async with client.post("/v1/completions", json={"model": "tiny"}, headers=headers) as response:
                        await response.content.readuntil(b"\n\n")
                        began = time.monotonic()
                        gateway.send_signal(signal.SIGTERM)
                        with pytest.raises(aiohttp.ClientError):
                            await response.content.read()
                        assert await asyncio.to_thread(gateway.wait, LIMIT) == 0
                        assert 0.5 <= time.monotonic() - began < 5
                assert gateway.stderr is not None
                *_, request, stopped = (json.loads(line) for line in gateway.stderr)
                assert (request["status"], request["outcome"], stopped["cut_off"]) == (200, "cut_off", 1)
                await asyncio.wait_for(e.gone.wait(), 5)

    run(story())


def test_what_a_stopping_gateway_holds_is_answered_by_an_engine_that_comes_meanwhile(tmp_path: Path) -> None:
    async def story() -> None:
        async with engine(answer) as e:
            write_keys(tmp_path)
            write_routes(tmp_path, route())
            with process(tmp_path, "--port", "0") as gateway:
                port = (await asyncio.to_thread(announced, tmp_path))["port"]
                async with aiohttp.ClientSession(f"http://127.0.0.1:{port}") as client:
                    headers = {"Authorization": f"Bearer {CLIENT_KEY}"}
                    held = asyncio.create_task(client.post("/v1/completions", json={"model": "tiny"}, headers=headers))
                    await asyncio.sleep(0.5)
                    gateway.send_signal(signal.SIGTERM)
                    await asyncio.sleep(0.5)
                    assert not held.done()
                    write_routes(tmp_path, route(e.backend))
                    async with await asyncio.wait_for(held, LIMIT) as response:
                        assert response.status == 200
                assert await asyncio.to_thread(gateway.wait, LIMIT) == 0

    run(story())


def test_what_a_stopping_gateway_holds_is_refused_when_its_limit_is_over(tmp_path: Path) -> None:
    async def story() -> None:
        write_keys(tmp_path)
        write_routes(tmp_path, route())
        with process(tmp_path, "--port", "0", "--drain-timeout", "0.5s") as gateway:
            port = (await asyncio.to_thread(announced, tmp_path))["port"]
            async with aiohttp.ClientSession(f"http://127.0.0.1:{port}") as client:
                headers = {"Authorization": f"Bearer {CLIENT_KEY}"}
                held = asyncio.create_task(client.post("/v1/completions", json={"model": "tiny"}, headers=headers))
                await asyncio.sleep(0.5)
                gateway.send_signal(signal.SIGTERM)
                async with await asyncio.wait_for(held, LIMIT) as response:
                    assert (response.status, "stopping" in await response.text()) == (503, True)
            assert await asyncio.to_thread(gateway.wait, LIMIT) == 0

    run(story())


def test_the_gateway_needs_no_ray() -> None:
    script = "import sys, elastic_deploy.gateway.server; sys.exit('ray' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", script], timeout=LIMIT, check=False).returncode == 0
