"""The journal keeps what it was told, in order and with its causes, whatever happens to its writer."""

import json
import stat
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from elastic_deploy.model.event import EventDraft
from elastic_deploy.runtime.journal import Journal, read

CONTRACT = ("id", "time", "kind", "deployment", "replica", "node", "cause", "message")


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "journal.jsonl"


def draft(kind: str, subject: str = "", because: str = "", **data: object) -> EventDraft:
    return EventDraft(kind, f"It was {kind}.", subject=subject, because=because, data=data)


def test_an_event_has_the_contracts_keys_first_and_its_own_after_them(path: Path) -> None:
    [event] = Journal(path).append([EventDraft("node.lost", "Gone.", "chat", "r0", "i-1", data={"seconds": 4})], 12.5)
    assert tuple(event)[: len(CONTRACT)] == CONTRACT
    assert event == {
        "id": "000001",
        "time": 12.5,
        "kind": "node.lost",
        "deployment": "chat",
        "replica": "r0",
        "node": "i-1",
        "cause": None,
        "message": "Gone.",
        "subject": "",
        "seconds": 4,
    }
    assert list(read(path)) == [event]


def test_what_an_event_is_not_about_is_null(path: Path) -> None:
    [event] = Journal(path).append([draft("up")], 1.0)
    assert (event["deployment"], event["replica"], event["node"], event["cause"]) == (None, None, None, None)


def test_data_never_replaces_a_key_of_the_contract(path: Path) -> None:
    [event] = Journal(path).append([draft("up", id="mine", time=-1, cause="x", more=1)], 2.0)
    assert (event["id"], event["time"], event["cause"], event["more"]) == ("000001", 2.0, None, 1)


def test_a_cause_is_the_latest_event_about_the_subject_that_is_named(path: Path) -> None:
    journal = Journal(path)
    first, second = journal.append([draft("joined", "node:a"), draft("lost", "node:a")], 1.0)
    [within_one_batch, effect] = journal.append([draft("down", "engine", "node:a"), draft("route", "", "engine")], 2.0)
    assert (first["cause"], second["cause"]) == (None, None)
    assert within_one_batch["cause"] == second["id"]
    assert effect["cause"] == within_one_batch["id"]


def test_an_event_about_its_own_cause_names_the_one_before_it(path: Path) -> None:
    lost, back = Journal(path).append([draft("lost", "autoscaler"), draft("back", "autoscaler", "autoscaler")], 1.0)
    assert back["cause"] == lost["id"]


def test_a_cause_that_was_never_told_of_is_none(path: Path) -> None:
    [event] = Journal(path).append([draft("down", because="node:unheard-of")], 1.0)
    assert event["cause"] is None


def test_a_journal_opened_again_goes_on_with_its_ids_and_causes(path: Path) -> None:
    Journal(path).append([draft("joined", "node:a")], 1.0)
    journal = Journal(path)
    [event] = journal.append([draft("down", because="node:a")], 2.0)
    assert (event["id"], event["cause"]) == ("000002", "000001")
    assert [e["id"] for e in journal.events] == ["000001", "000002"]
    assert list(read(path)) == journal.events


def test_only_its_user_may_read_it(path: Path) -> None:
    Journal(path).append([draft("up")], 1.0)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_nothing_to_tell_makes_no_file(path: Path) -> None:
    journal = Journal(path)
    assert journal.append([], 1.0) == []
    assert not path.exists()
    assert list(read(path)) == []
    assert journal.last_id is None


@pytest.mark.parametrize(
    "spoilt",
    [
        b'{"id": "000002", "kind": "lo',
        b'{"id": "000002", "message": "caf\xc3',
        b"\x00\x00\x00\x00",
        b'"000002"',
        b'{"id": "two"}',
        b"{}",
        b"[1",
    ],
)
@pytest.mark.parametrize("end", [b"", b"\n"])
def test_what_a_crash_has_spoilt_is_passed_over_and_harms_nothing_after_it(
    path: Path, spoilt: bytes, end: bytes
) -> None:
    Journal(path).append([draft("one")], 1.0)
    with path.open("ab") as file:
        file.write(spoilt + end)
    journal = Journal(path)
    journal.append([draft("two")], 2.0)
    journal.append([draft("three")], 3.0)
    assert [event["kind"] for event in Journal(path).events] == ["one", "two", "three"]
    assert [event["id"] for event in Journal(path).events] == ["000001", "000002", "000003"]


def test_a_disk_that_takes_nothing_is_an_error_and_what_it_did_not_take_has_not_happened(path: Path) -> None:
    """The writer runs under a limit on the size of its files, as on a full disk."""
    code = f"""
import resource, signal
from pathlib import Path
from elastic_deploy.model.event import EventDraft
from elastic_deploy.runtime.journal import Journal
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
journal = Journal(Path({str(path)!r}))
journal.append([EventDraft("one", "x", subject="s")], 1.0)
size = journal.path.stat().st_size
resource.setrlimit(resource.RLIMIT_FSIZE, (size + 10, resource.RLIM_INFINITY))
try:
    journal.append([EventDraft("two", "x", subject="s")], 2.0)
except OSError:
    pass
else:
    raise SystemExit("the full disk was not noticed")
resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
[event] = journal.append([EventDraft("three", "x", because="s")], 3.0)
assert (event["id"], event["cause"]) == ("000002", "000001"), event
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    assert [event["kind"] for event in read(path)] == ["one", "three"]


def test_after_gives_what_came_later_in_order(path: Path) -> None:
    journal = Journal(path)
    journal.append([draft(kind) for kind in "abcd"], 1.0)
    assert [event["kind"] for event in journal.after("000002")] == ["c", "d"]
    assert [event["kind"] for event in journal.after(None)] == ["a", "b", "c", "d"]
    assert journal.after(journal.last_id) == []
    assert journal.last_id == "000004"


def test_order_holds_beyond_a_million_events(path: Path) -> None:
    path.write_text(json.dumps({"id": "999999", "subject": "s"}) + "\n")
    journal = Journal(path)
    journal.append([draft("next")], 1.0)
    assert journal.last_id == "1000000"
    assert [event["id"] for event in journal.after("999999")] == ["1000000"]
    assert [event["id"] for event in journal.after("1000000")] == []


def test_who_reads_while_it_is_written_sees_a_beginning_of_it_and_never_half_an_event(path: Path) -> None:
    journal = Journal(path)
    seen: list[list[str]] = []
    done = threading.Event()

    def look() -> None:
        while not done.is_set():
            seen.append([event["id"] for event in read(path)])

    reader = threading.Thread(target=look)
    reader.start()
    for number in range(50):
        journal.append([draft("event", text="x" * 9000, number=number)], float(number))
    done.set()
    reader.join(30)
    everything = [event["id"] for event in journal.events]
    assert len(everything) == 50
    assert all(ids == everything[: len(ids)] for ids in seen)
