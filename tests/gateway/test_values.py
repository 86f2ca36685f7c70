"""The pure parts of the gateway, as values."""

import json
import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from elastic_deploy.gateway import refusal
from elastic_deploy.gateway.ask import Ask, parse_ask
from elastic_deploy.gateway.balance import SHUN, Load, choose
from elastic_deploy.gateway.hold import WaitingRoom
from elastic_deploy.gateway.keys import bearer, digests, opened
from elastic_deploy.gateway.metrics import Metrics
from elastic_deploy.gateway.paths import Use, methods_of, model_of, use_of
from elastic_deploy.gateway.refusal import RefusalError
from elastic_deploy.gateway.settings import ClientLimits, HoldLimits, Settings, TlsFiles, parse_arguments
from elastic_deploy.gateway.sse import LONGEST, WholeEvents, error_event, is_event_stream
from elastic_deploy.gateway.table import BrokenTableError, RoutingTable, dump_table, load_table
from elastic_deploy.model.action import Backend, RouteEntry
from elastic_deploy.model.names import EngineName

R0, R1, R2 = (Backend(EngineName("tiny", f"r{n}", 1), f"http://127.0.0.1:{n}") for n in range(3))
TABLE = RoutingTable((RouteEntry("tiny", "tiny", (R0, R1), "tiny is ready"), RouteEntry("big", "b", (), "b waits")))


def test_a_table_comes_back_from_disk_as_it_was() -> None:
    assert load_table(dump_table(TABLE)) == TABLE


def test_a_backend_without_a_version_has_the_empty_one() -> None:
    document = json.loads(dump_table(TABLE))
    del document["entries"][0]["backends"][0]["version"]
    assert load_table(json.dumps(document)) == TABLE


def test_a_version_comes_back_from_disk() -> None:
    backend = Backend(R0.engine, R0.address, "b3a1")
    table = RoutingTable((RouteEntry("tiny", "tiny", (backend,), ""),))
    assert load_table(dump_table(table)).backends == (backend,)


def test_the_first_of_two_entries_with_one_model_has_it() -> None:
    first, second = RouteEntry("m", "a", (), ""), RouteEntry("m", "b", (), "")
    assert RoutingTable((first, second)).route("m") is first


def _broken(**changes: object) -> str:
    backend: dict[str, object] = {"engine": "engine/tiny/r0/g2", "address": "http://127.0.0.1:1", "version": "a"}
    entry: dict[str, object] = {"model": "tiny", "deployment": "tiny", "reason": "", "backends": [backend]}
    for name, value in changes.items():
        (backend if name in backend else entry)[name] = value
    return json.dumps({"entries": [entry]})


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "not JSON"),
        ("[" * 100_000, "not JSON"),
        ("[]", "the table is not an object"),
        ('{"entries": {}}', "the table.entries is not a list"),
        ('{"entries": [1]}', "entries[0] is not an object"),
        (_broken(model=None), "entries[0].model"),
        (_broken(deployment="../../etc"), "entries[0].deployment"),
        (_broken(deployment="tiny.engine"), "entries[0].deployment"),
        (_broken(backends=""), "entries[0].backends"),
        (_broken(engine="tiny"), "entries[0].backends[0].engine"),
        (_broken(address="file:///etc/passwd"), "entries[0].backends[0].address"),
        (_broken(address="http://a/b?c"), "entries[0].backends[0].address"),
        (_broken(version=1), "entries[0].backends[0].version"),
    ],
)
def test_a_broken_table_is_refused_with_the_place(text: str, says: str) -> None:
    with pytest.raises(BrokenTableError, match=says.replace("[", r"\[")):
        load_table(text)


def test_what_a_newer_supervisor_adds_to_the_table_is_passed_over() -> None:
    document = json.loads(dump_table(TABLE))
    document["entries"][0]["weight"] = document["version"] = 2
    assert load_table(json.dumps(document)) == TABLE


@pytest.mark.parametrize(
    ("path", "use"),
    [
        ("/v1/chat/completions", Use.FORWARD),
        ("/v1/completions", Use.FORWARD),
        ("/v1/embeddings", Use.FORWARD),
        ("/v1/responses", Use.FORWARD),
        ("/tokenize", Use.FORWARD),
        ("/detokenize", Use.FORWARD),
        ("/v1/models", Use.MODELS),
        ("/v1/models/org/name", Use.MODELS),
        ("/health", Use.HEALTH),
        ("/ready", Use.READY),
        ("/metrics", Use.METRICS),
    ],
)
def test_these_paths_are_for_clients(path: str, use: Use) -> None:
    assert use_of(path) is use


CLOSED = """
    / /pause /resume /invocations /update_weights /v1/load_lora_adapter /collective_rpc /sleep /wake_up /ping
    /server_info /version /load /docs /openapi.json /inference/v1/generate /v1/chat/completions/
    //v1/chat/completions /v1/../pause /V1/models /v1/chat/completions/render /v1/models/ /start_profile
    /reset_prefix_cache /scale_elastic_ep /tokenizer_info /health/ /v1/%63ompletions"""


@pytest.mark.parametrize("path", CLOSED.split())
def test_all_other_paths_are_not(path: str) -> None:
    assert use_of(path) is None


def test_an_engine_is_only_ever_posted_to() -> None:
    assert methods_of(Use.FORWARD) == ("POST",)
    assert model_of("/v1/models/org/name") == "org/name"


def test_an_ask_knows_its_model_and_whether_it_streams() -> None:
    body = b'{"model": "tiny", "stream": true, "messages": []}'
    assert parse_ask("/v1/responses", body, "application/json") == Ask("/v1/responses", "tiny", True, body)
    assert not parse_ask("/v1/completions", b'{"model": "tiny", "stream": "yes"}').stream


@pytest.mark.parametrize(
    "body",
    [b"", b"{", b"[]", b'"tiny"', b"{}", b'{"model": 1}', b'{"model": ""}', b"\xff", b"[" * 100_000, b"1" * 5000],
)
def test_a_body_that_names_no_model_is_the_clients_mistake(body: bytes) -> None:
    with pytest.raises(RefusalError) as refused:
        parse_ask("/v1/completions", body)
    assert refused.value.refusal.status == 400


@given(st.binary())
def test_no_body_is_anything_but_an_ask_or_a_mistake(body: bytes) -> None:
    status, model = 0, ""
    try:
        model = parse_ask("/tokenize", body).model
    except RefusalError as error:
        status = error.refusal.status
    assert model or status == 400


KEYS = {"a": digests("one\n\n  two \n"), "b": digests("two"), "c": digests("")}


@pytest.mark.parametrize(
    ("key", "opens"),
    [("one", "a"), ("two", "ab"), ("", ""), ("on", ""), ("one two", ""), ("three", ""), ("ö\udc80", "")],
)
def test_a_key_opens_the_deployments_that_list_it(key: str, opens: str) -> None:
    assert opened(key, KEYS) == frozenset(opens)


def test_a_deployment_without_keys_is_closed_to_all() -> None:
    assert opened("", {"c": ()}) == opened("x", {"c": ()}) == frozenset()


@pytest.mark.parametrize(
    ("header", "key"),
    [("Bearer k", "k"), ("bearer  k ", "k"), ("Bearer ", ""), ("Basic k", ""), ("", ""), ("k", ""), ("Bearerk", "")],
)
def test_a_key_is_what_follows_the_word_bearer(header: str, key: str) -> None:
    assert bearer(header) == key


def test_the_engine_with_the_least_work_is_asked() -> None:
    assert choose((R0, R1, R2), {R0.engine: 2, R1.engine: 1, R2.engine: 3}, (), (), 7) == R1


def test_equals_take_turns() -> None:
    assert [choose((R0, R1, R2), {R2.engine: 1}, (), (), turn) for turn in range(4)] == [R0, R1, R0, R1]


def test_an_engine_that_refused_is_asked_last_but_is_asked() -> None:
    assert choose((R0, R1), {R1.engine: 9}, {R0.engine}, (), 0) == R1
    assert choose((R0, R1), {}, {R0.engine, R1.engine}, {R1.engine}, 0) == R0


def test_an_engine_to_avoid_is_never_asked() -> None:
    assert choose((R0, R1), {}, (), {R0.engine, R1.engine}, 0) is None
    assert choose((), {}, (), (), 0) is None


def test_a_refusal_is_forgotten_after_a_while() -> None:
    load = Load()
    load.refused(R0.engine, 100.0)
    with load.one_more(R1.engine):
        assert load.choose((R0, R1), (), 100.0 + SHUN / 2) == R1
        assert load.choose((R0, R1), (), 100.0 + SHUN) == R0
    assert (load.outstanding(R1.engine), load.busy(())) == (0, set())


def test_a_refusal_is_an_error_in_openais_form() -> None:
    document = json.loads(refusal.unknown_model("m").body())
    assert set(document["error"]) == {"message", "type", "param", "code"}
    assert (document["error"]["code"], document["error"]["param"]) == ("model_not_found", "model")


def test_an_unavailable_model_says_why_and_when_to_ask_again() -> None:
    refused = refusal.unavailable("tiny is recovering")
    assert "tiny is recovering" in refused.message
    assert ("Retry-After", str(refusal.RETRY_AFTER)) in refused.headers


@given(st.lists(st.sampled_from([b"data: a\n\n", b"data: {}\n\n", b": x\n\n"])), st.data())
def test_events_are_passed_whole_however_they_are_cut(events: list[bytes], data: st.DataObject) -> None:
    sent = b"".join(events)
    cuts = sorted(data.draw(st.lists(st.integers(0, len(sent)))))
    whole = WholeEvents()
    passed = b""
    for begin, end in zip([0, *cuts], [*cuts, len(sent)], strict=True):
        passed += whole.feed(sent[begin:end])
        assert passed == b"" or passed.endswith(b"\n\n")
    assert (passed, whole.rest()) == (sent, b"")


def test_half_an_event_is_kept_back_and_an_endless_one_is_not() -> None:
    events = WholeEvents()
    assert events.feed(b"data: a\r\n\r\ndata: b") == b"data: a\r\n\r\n"
    assert events.rest() == b"data: b"
    assert WholeEvents().feed(b"x" * (LONGEST + 1)) == b"x" * (LONGEST + 1)


def test_an_error_event_is_one_event_with_the_error_in_it() -> None:
    sent = error_event(refusal.stream_broke("it has ended"))
    assert json.loads(sent.removeprefix(b"data: "))["error"]["code"] == "engine_broke"
    assert sent.count(b"\n\n") == 1


@pytest.mark.parametrize(
    ("header", "streams"),
    [("text/event-stream; charset=utf-8", True), ("Text/Event-Stream", True), ("application/json", False), ("", False)],
)
def test_a_content_type_says_whether_events_follow(header: str, streams: bool) -> None:
    assert is_event_stream(header) is streams


def test_flags_become_settings_and_zero_holds_nothing() -> None:
    line = "--dir d --host 0.0.0.0 --port 0 --hold-timeout 0 --hold-requests 9 --drain-timeout 2m --max-body-bytes 10"
    settings = parse_arguments(line.split())
    assert (settings.directory, settings.host, settings.port) == (Path("d"), "0.0.0.0", 0)
    assert (settings.hold.seconds, settings.hold.requests, settings.drain, settings.client.body) == (0, 9, 120, 10)


def test_every_limit_of_a_client_has_a_flag() -> None:
    line = "--dir d --max-connections 9 --client-headers-timeout 1s --client-idle-timeout 2s --client-body-timeout 3s"
    more = "--client-stall-timeout 4s --max-body-bytes 5 --tls-cert c --tls-key k"
    settings = parse_arguments(f"{line} {more}".split())
    assert settings.client == ClientLimits(body=5, body_time=3, idle=2, headers=1, connections=9, stall=4)
    assert settings.tls == TlsFiles(Path("c"), Path("k"))


def test_the_page_has_every_limit_with_its_default_and_every_metric(capsys: pytest.CaptureFixture[str]) -> None:
    page = (Path(__file__).parents[2] / "docs" / "gateway.md").read_text()
    with pytest.raises(SystemExit):
        parse_arguments(["--help"])
    flags = set(re.findall(r"^  (--[a-z-]+)", capsys.readouterr().out, re.MULTILINE))
    limits = dict(re.findall(r"^\| `(--[a-z-]+)` \| (.+?) \|", page, re.MULTILINE))
    assert flags - limits.keys() == {"--dir", "--host", "--port", "--tls-cert", "--tls-key"}
    line = [part for flag, default in limits.items() for part in (flag, default.replace(" ", ""))]
    line[line.index("1m15s")] = "75s"
    assert parse_arguments(["--dir", "d", *line]) == Settings(Path("d"))
    told = Metrics().page(None, Load(), WaitingRoom(HoldLimits())).decode()
    names = set(re.findall(r"^# TYPE elastic_deploy_gateway_(\w+) ", told, re.MULTILINE))
    table = page.partition("## Metrics")[2]
    assert {name for name in names if not name.endswith("_created")} == set(
        re.findall(r"^\| `(\w+)` \|", table, re.MULTILINE)
    )


def test_without_flags_the_settings_are_the_defaults() -> None:
    assert parse_arguments(["--dir", "d"]) == Settings(Path("d"))
