"""The instance metadata as a node reads it, from a service of this test's own on a local port."""

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from elastic_deploy.runtime.spot_notice import (
    ENDPOINT_VARIABLE,
    Metadata,
    NoMetadataError,
    Notice,
    await_notice,
    endpoint,
    parse_time,
)

pytestmark = pytest.mark.timeout(60)


class Service(ThreadingHTTPServer):
    """Metadata with tokens. `documents` are by path below /latest/; `asked` is what was asked for, in order."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Answer)
        self.documents: dict[str, str] = {}
        self.prefix = ""
        self.tokens: set[str] = set()
        self.token_status = 200
        self.asked: list[str] = []

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}{self.prefix}"

    def interrupt(self, at: str) -> None:
        """Say that the instance is taken."""
        self.documents["meta-data/spot/instance-action"] = json.dumps({"action": "terminate", "time": at})


class Answer(BaseHTTPRequestHandler):
    server: Service

    def do_PUT(self) -> None:
        token = f"token-{len(self.server.tokens)}"
        self.server.tokens.add(token)
        self._answer(self.server.token_status, token)

    def do_GET(self) -> None:
        path = self.path.removeprefix(f"{self.server.prefix}/latest/")
        self.server.asked.append(path)
        if self.headers["X-aws-ec2-metadata-token"] not in self.server.tokens:
            self._answer(401, "")
        elif path in self.server.documents:
            self._answer(200, self.server.documents[path])
        else:
            self._answer(404, "<html>Not Found</html>")

    def _answer(self, status: int, text: str) -> None:
        self.send_response(status)
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        self.wfile.write(text.encode())

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002  the name is the base class's
        """Nothing."""


@pytest.fixture
def service() -> Iterator[Service]:
    with Service() as running:
        thread = threading.Thread(target=running.serve_forever, kwargs={"poll_interval": 0.05})
        thread.start()
        try:
            yield running
        finally:
            running.shutdown()
            thread.join(10)


def test_a_quiet_instance_has_no_notice(service: Service) -> None:
    service.documents["meta-data/instance-life-cycle"] = "spot"
    metadata = Metadata(service.address)
    assert metadata.life_cycle() == "spot"
    assert metadata.notice() is None
    assert len(service.tokens) == 1, "a token serves for many questions"


def test_an_interruption_brings_its_time_and_goes_before_a_recommendation(service: Service) -> None:
    service.documents["meta-data/events/recommendations/rebalance"] = '{"noticeTime": "2026-11-23T01:00:00Z"}'
    metadata = Metadata(service.address)
    assert metadata.notice() == Notice(interruption=False, at=None)
    service.interrupt("2026-11-23T01:02:03Z")
    assert metadata.notice() == Notice(interruption=True, at=1795395723.0)


def test_a_token_that_has_expired_is_asked_for_anew(service: Service) -> None:
    metadata = Metadata(service.address)
    assert metadata.notice() is None
    service.tokens.clear()
    service.interrupt("2026-11-23T01:02:03Z")
    assert metadata.notice() == Notice(interruption=True, at=1795395723.0)


def test_where_nobody_answers_or_the_service_is_switched_off_there_is_no_metadata(service: Service) -> None:
    service.token_status = 403
    with pytest.raises(NoMetadataError, match="switched off"):
        Metadata(service.address).life_cycle()
    with ThreadingHTTPServer(("127.0.0.1", 0), Answer) as unused:
        port = unused.server_address[1]
    with pytest.raises(NoMetadataError, match="does not answer"):
        Metadata(f"http://127.0.0.1:{port}").life_cycle()


def test_the_next_notice_is_awaited_through_failures_and_past_what_is_known(service: Service) -> None:
    """First no answer, then nonsense, then a recommendation that is known already, and then the interruption."""
    metadata = Metadata(service.address)
    service.token_status = 503
    steps = iter(("no answer", "nonsense", "recommendation", "interruption"))

    def next_step(seconds: float) -> None:
        assert seconds == 3.0
        step = next(steps)
        if step == "nonsense":
            service.token_status = 200
            service.documents["meta-data/spot/instance-action"] = "[]"
        elif step == "recommendation":
            del service.documents["meta-data/spot/instance-action"]
            service.documents["meta-data/events/recommendations/rebalance"] = "{}"
        elif step == "interruption":
            service.interrupt("2026-11-23T01:02:03Z")

    assert await_notice(metadata, 3.0, known=True, sleep=next_step) == Notice(True, 1795395723.0)
    assert list(steps) == []


def test_the_address_is_the_sdks_variable_and_may_have_a_path(
    service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv(ENDPOINT_VARIABLE, raising=False)
    assert endpoint() == "http://169.254.169.254"
    service.prefix = "/node-7"
    service.interrupt("2026-11-23T01:02:03Z")
    monkeypatch.setenv(ENDPOINT_VARIABLE, f"{service.address}/")
    assert Metadata(endpoint()).notice() == Notice(True, 1795395723.0)


def test_no_proxy_is_asked(service: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:1")
    assert Metadata(service.address).notice() is None


def test_a_time_is_read_as_ec2_writes_it() -> None:
    assert parse_time("2026-11-23T01:02:03Z") == 1795395723.0
    with pytest.raises(ValueError, match="does not match"):
        parse_time("tomorrow")
