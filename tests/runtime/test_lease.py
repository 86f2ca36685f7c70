"""The lease on the GPUs: what renews it, what ends it, and what must not."""

import json
import os
import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from elastic_deploy.runtime import lease_keeper
from elastic_deploy.runtime.lease import Lease, is_kept
from elastic_deploy.runtime.lease_keeper import Watch, keep
from elastic_deploy.runtime.lease_terms import Terms, ends_in, keeper_path, lease_path

SESSION = "session_1"


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Looks that do not take seconds."""
    monkeypatch.setattr(lease_keeper, "STEP", 0.02)
    monkeypatch.setattr(lease_keeper, "LOOKS_FOR_CLUSTER", 0.05)


@pytest.fixture
def gcs() -> Iterator[str]:
    """An address at which somebody listens."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield f"127.0.0.1:{server.getsockname()[1]}"


@pytest.fixture
def ended(monkeypatch: pytest.MonkeyPatch) -> list[Terms]:
    """The leases that were ended, instead of an end in Ray."""
    found: list[Terms] = []

    def end(_: Path, terms: Terms) -> bool:
        found.append(terms)
        return True

    monkeypatch.setattr(lease_keeper, "_end", end)
    return found


def write(directory: Path, gcs: str, term: float = 0.3, session: str = SESSION) -> None:
    lease_path(directory).write_text(json.dumps({"gcs_address": gcs, "session": session, "term": term}))


def keeping(directory: Path) -> threading.Thread:
    thread = threading.Thread(target=keep, args=(directory, SESSION), daemon=True)
    thread.start()
    return thread


def test_a_lease_that_nobody_renews_ends(tmp_path: Path, gcs: str, ended: list[Terms]) -> None:
    write(tmp_path, gcs)
    keep(tmp_path, SESSION)
    assert [terms.term for terms in ended] == [0.3]


def test_a_lease_that_is_renewed_goes_on_whatever_the_clock_says(tmp_path: Path, gcs: str, ended: list[Terms]) -> None:
    write(tmp_path, gcs)
    thread = keeping(tmp_path)
    for jump in (0, 86400, -86400, 0, -5, 7200, 0, 0, 0, 0):
        at = time.time() + jump
        os.utime(lease_path(tmp_path), (at, at))
        time.sleep(0.1)
    assert thread.is_alive()
    assert not ended
    thread.join(5)
    assert len(ended) == 1, "the last jump is the last renewal, and the term counts from there"


def test_a_term_counts_from_when_a_renewal_was_seen() -> None:
    watch = Watch()
    assert watch.silent_for("a", 100.0) == 0.0
    assert watch.silent_for("a", 150.0) == 50.0
    assert watch.silent_for("b", 160.0) == 0.0
    assert watch.silent_for("a", 170.0) == 0.0, "a clock that was set back renews as well"


def test_an_end_that_a_supervisor_interrupts_is_tried_again_only_after_another_term(
    tmp_path: Path, gcs: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(tmp_path, gcs)
    tries: list[float] = []

    def end(directory: Path, _: Terms) -> bool:
        tries.append(time.monotonic())
        if len(tries) == 1:
            os.utime(lease_path(directory))
        return len(tries) == 2

    monkeypatch.setattr(lease_keeper, "_end", end)
    keep(tmp_path, SESSION)
    assert tries[1] - tries[0] >= 0.3


@pytest.mark.parametrize("what", ["nothing is leased", "another session", "the cluster is stopped"])
def test_a_keeper_goes_where_there_is_nothing_to_keep(
    tmp_path: Path, gcs: str, ended: list[Terms], monkeypatch: pytest.MonkeyPatch, what: str
) -> None:
    if what == "another session":
        write(tmp_path, gcs, term=60.0, session="session_2")
    elif what == "the cluster is stopped":
        monkeypatch.setattr(lease_keeper, "CLUSTER_GONE", 0.2)
        with socket.create_server(("127.0.0.1", 0)) as server:
            closed = f"127.0.0.1:{server.getsockname()[1]}"
        write(tmp_path, closed, term=60.0)
    thread = keeping(tmp_path)
    thread.join(5)
    assert not thread.is_alive()
    assert not ended


def test_the_supervisors_end_starts_one_keeper_and_takes_the_lease_back(tmp_path: Path, gcs: str) -> None:
    lease = Lease(tmp_path, gcs, SESSION)
    lease.renew(60.0, leased=True)
    deadline = time.monotonic() + 20
    while not is_kept(tmp_path, SESSION):
        assert time.monotonic() < deadline, (tmp_path / "lease.log").read_text()
        time.sleep(0.05)
    first = keeper_path(tmp_path).read_text()
    Lease(tmp_path, gcs, SESSION).renew(60.0, leased=True)
    assert 55 < (lease.ends_at or 0.0) - time.time() <= 60
    assert keeper_path(tmp_path).read_text() == first
    assert "renewed" in ends_in(tmp_path, time.time())
    lease.renew(60.0, leased=False)
    while is_kept(tmp_path, SESSION):
        assert time.monotonic() < deadline + 10, "a keeper stays though nothing is leased"
        time.sleep(0.05)
    assert lease.ends_at is None
    assert ends_in(tmp_path, time.time()) == ""


def test_a_supervisor_that_comes_back_renews_before_anything_else(tmp_path: Path, gcs: str) -> None:
    write(tmp_path, gcs)
    os.utime(lease_path(tmp_path), (1.0, 1.0))
    Lease(tmp_path, gcs, SESSION)
    assert time.time() - lease_path(tmp_path).stat().st_mtime < 5


def test_what_a_keeper_has_done_is_told_once(tmp_path: Path, gcs: str) -> None:
    (tmp_path / "lease.ended").write_text("It has ended.\n")
    lease = Lease(tmp_path, gcs, SESSION)
    assert [lease.take_ending(), lease.take_ending()] == ["It has ended.", ""]
