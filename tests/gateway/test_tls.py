"""The door with a certificate: HTTPS and nothing else, and a renewal without a restart."""

import asyncio
import contextlib
import json
import socket
import ssl
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import aiohttp
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from elastic_deploy.gateway import listen
from elastic_deploy.gateway.settings import Settings, TlsFiles, parse_arguments

from .stand_in import CLIENT_KEY, engine, event, front, route, run, stream
from .test_process import LIMIT, announced, process

ASK = {"model": "tiny", "stream": True}
BEARER = {"Authorization": f"Bearer {CLIENT_KEY}"}


def pair(name: str, password: bytes | None = None) -> tuple[bytes, bytes]:
    """A certificate for localhost, signed by itself, and its key."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    now = datetime.now(UTC)
    builder = x509.CertificateBuilder(subject, subject, key.public_key(), x509.random_serial_number())
    builder = builder.not_valid_before(now - timedelta(days=1)).not_valid_after(now + timedelta(days=1))
    builder = builder.add_extension(x509.SubjectAlternativeName([x509.DNSName("localhost")]), critical=False)
    encryption = serialization.BestAvailableEncryption(password) if password else serialization.NoEncryption()
    return (
        builder.sign(key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM),
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, encryption),
    )


def written(directory: Path, cert: bytes, key: bytes) -> TlsFiles:
    files = TlsFiles(directory / "cert.pem", directory / "key.pem")
    files.cert.write_bytes(cert)
    files.key.write_bytes(key)
    return files


def trusting(cert: bytes) -> ssl.SSLContext:
    return ssl.create_default_context(cadata=cert.decode())


async def closed(writer: asyncio.StreamWriter) -> None:
    writer.close()
    with contextlib.suppress(OSError):
        await writer.wait_closed()


async def shown(port: int) -> str:
    """The name in the certificate that a new connection is shown."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    _, writer = await asyncio.open_connection("127.0.0.1", port, ssl=context)
    told = writer.get_extra_info("ssl_object").getpeercert(binary_form=True)
    await closed(writer)
    name = x509.load_der_x509_certificate(told).subject.get_attributes_for_oid(NameOID.COMMON_NAME)[0].value
    return str(name)


async def eventually(holds: Callable[[], Awaitable[bool]]) -> None:
    async with asyncio.timeout(10):
        while not await holds():
            await asyncio.sleep(0.1)


def test_a_stream_passes_over_https_and_plain_http_is_not_answered(tmp_path: Path) -> None:
    async def story() -> None:
        cert, key = pair("first")
        settings = Settings(tmp_path, port=0, tls=written(tmp_path, cert, key))
        async with engine(stream) as e, front(settings, route(e.backend)) as door:
            for _ in range(3):
                e.step.release()
            url = f"https://localhost:{door.gateway.port}"
            async with aiohttp.ClientSession(url, headers=BEARER) as client:
                async with client.post("/v1/completions", json=ASK, ssl=trusting(cert)) as response:
                    assert (await response.read()).startswith(event("0"))
                async with client.post("/v1/completions", json={"model": "?"}, ssl=trusting(cert)) as response:
                    assert response.status == 404
            with pytest.raises(aiohttp.ClientError):
                await door.client.get("/health")
            assert json.loads((tmp_path / "gateway.json").read_text())["tls"] is True

    run(story())


def test_without_a_certificate_the_announcement_says_so(tmp_path: Path) -> None:
    async def story() -> None:
        async with front(Settings(tmp_path, port=0), route()):
            assert json.loads((tmp_path / "gateway.json").read_text())["tls"] is False

    run(story())


@pytest.mark.filterwarnings("ignore:ssl.TLSVersion.TLSv1")
def test_tls_before_1_2_is_refused(tmp_path: Path) -> None:
    async def story() -> None:
        settings = Settings(tmp_path, port=0, tls=written(tmp_path, *pair("first")))
        async with front(settings, route()) as door:
            assert await shown(door.gateway.port) == "first"
            for version, speaks in ((ssl.TLSVersion.TLSv1_1, False), (ssl.TLSVersion.TLSv1_2, True)):
                context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
                context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
                context.set_ciphers("ALL:@SECLEVEL=0")
                context.minimum_version = context.maximum_version = version
                try:
                    _, writer = await asyncio.open_connection("127.0.0.1", door.gateway.port, ssl=context)
                except (ssl.SSLError, ConnectionError):
                    assert not speaks
                else:
                    assert speaks
                    await closed(writer)

    run(story())


def test_a_renewed_certificate_is_shown_without_a_restart_and_open_connections_stay(tmp_path: Path) -> None:
    async def story() -> None:
        cert, key = pair("first")
        settings = Settings(tmp_path, port=0, tls=written(tmp_path, cert, key))
        async with engine(stream) as e, front(settings, route(e.backend)) as door:
            url = f"https://localhost:{door.gateway.port}/v1/completions"
            e.step.release()
            async with (
                aiohttp.ClientSession(headers=BEARER) as client,
                client.post(url, json=ASK, ssl=trusting(cert)) as response,
            ):
                assert await response.content.readuntil(b"\n\n") == event("0")
                written(tmp_path, *pair("second"))

                async def renewed() -> bool:
                    return await shown(door.gateway.port) == "second"

                await eventually(renewed)
                for _ in range(2):
                    e.step.release()
                assert (await response.read()).endswith(b"data: [DONE]\n\n")
            assert [line["renewed"] for line in door.log if line["event"] == "certificate"][-1]

    run(story())


@pytest.mark.parametrize("broken", ["other key", "no pem", "empty", "gone", "encrypted"])
def test_a_broken_renewal_keeps_the_old_certificate_and_says_so(tmp_path: Path, broken: str) -> None:
    async def story() -> None:
        cert, key = pair("first")
        files = written(tmp_path, cert, key)
        async with front(Settings(tmp_path, port=0, tls=files), route()) as door:

            async def refused() -> bool:
                return any(line["event"] == "certificate_refused" for line in door.log)

            _break(files, broken)
            await eventually(refused)
            assert await shown(door.gateway.port) == "first"
            written(tmp_path, *pair("second"))

            async def renewed() -> bool:
                return await shown(door.gateway.port) == "second"

            await eventually(renewed)

    run(story())


def _break(files: TlsFiles, how: str) -> None:
    if how == "other key":
        files.cert.write_bytes(pair("other")[0])
    elif how == "gone":
        files.key.unlink()
    elif how == "encrypted":
        cert, key = pair("other", b"secret")
        files.key.write_bytes(key)
        files.cert.write_bytes(cert)
    else:
        files.cert.write_bytes(b"" if how == "empty" else b"no certificate\n")


@pytest.mark.parametrize("broken", ["other key", "no pem", "empty", "gone", "encrypted"])
def test_wrong_files_at_the_start_are_status_3_with_a_sentence(tmp_path: Path, broken: str) -> None:
    files = written(tmp_path, *pair("first"))
    _break(files, broken)
    with process(tmp_path, "--port", "0", "--tls-cert", str(files.cert), "--tls-key", str(files.key)) as gateway:
        assert gateway.wait(LIMIT) == 3
        assert gateway.stderr is not None
        said = gateway.stderr.read()
    assert said.startswith("The gateway cannot ")
    assert said.endswith(".\n")
    assert said.count("\n") == 1
    assert not (tmp_path / "gateway.json").exists()


def test_a_process_with_a_certificate_announces_it(tmp_path: Path) -> None:
    files = written(tmp_path, *pair("first"))
    with process(tmp_path, "--port", "0", "--tls-cert", str(files.cert), "--tls-key", str(files.key)):
        where = announced(tmp_path)
        assert where["tls"] is True
        assert asyncio.run(shown(where["port"])) == "first"


@pytest.mark.parametrize("flag", ["--tls-cert", "--tls-key"])
def test_a_certificate_without_a_key_is_a_wrong_command_line(flag: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        parse_arguments(["--dir", "d", flag, "x"])
    assert ended.value.code == 2
    assert "give both or none" in capsys.readouterr().err


def test_a_handshake_that_does_not_come_to_an_end_is_ended_and_counts_until_then(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(listen, "HANDSHAKE", 0.5)

    async def story() -> None:
        cert, key = pair("first")
        async with front(Settings(tmp_path, port=0, tls=written(tmp_path, cert, key)), route()) as door:
            silent = [socket.create_connection(("127.0.0.1", door.gateway.port)) for _ in range(3)]
            open_now = door.gateway._listener

            async def all_open() -> bool:
                return open_now.open == 3

            async def all_gone() -> bool:
                return open_now.open == 0

            await eventually(all_open)
            silent[0].sendall(b"\x16\x03\x01")
            silent[1].sendall(b"GET / HTTP/1.1\r\n\r\n")
            await eventually(all_gone)
            for each in silent:
                each.close()
            assert await shown(door.gateway.port) == "first"

    run(story())
