"""The supervisor's state survives it: whatever it holds comes back as it was, and there is always one whole state."""

import json
import logging
import stat
import threading
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from elastic_deploy.core.ledger import Ledger, NodeRecord
from elastic_deploy.model.shape import Shape
from elastic_deploy.model.snapshot import NodeSeen, NodeState
from elastic_deploy.model.spec import ClusterSpec, DeploymentSpec
from elastic_deploy.runtime import store
from elastic_deploy.runtime.store import State

FINITE = st.floats(allow_nan=False, allow_infinity=False)
st.register_type_strategy(float, FINITE)
TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
st.register_type_strategy(str, TEXT)

SPEC = DeploymentSpec("chat", "org/model", "chat", Shape(2, 1, 1))


@settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
)
@given(state=st.from_type(State))
def test_every_state_comes_back_as_it_was(tmp_path: Path, state: State) -> None:
    path = tmp_path / "state.json"
    store.save(path, state)
    assert store.load(path) == state


def test_only_its_user_may_read_it(tmp_path: Path) -> None:
    path = tmp_path / "state.json"
    store.save(path, State())
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_there_is_none_before_the_first(tmp_path: Path) -> None:
    assert store.load(tmp_path / "state.json") is None
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "content",
    [b"", b"{", b"null", b"[]", b'{"port": "front"}', b'{"spec": {"deployments": [{"name": "chat"}]}}', b"\xff\xfe"],
)
def test_a_state_that_cannot_be_read_is_none_and_is_kept(
    tmp_path: Path, content: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "state.json"
    path.write_bytes(content)
    with caplog.at_level(logging.WARNING):
        assert store.load(path) is None
    assert (tmp_path / "state.json.unreadable").read_bytes() == content
    assert "cannot be read" in caplog.text
    store.save(path, State(cluster="lab"))
    assert store.load(path) == State(cluster="lab")


def test_a_state_of_a_version_with_fewer_or_more_fields_is_understood(tmp_path: Path) -> None:
    path = tmp_path / "state.json"
    record = NodeRecord(NodeSeen("i-1", "gpu", NodeState.JOINED), 5.0)
    state = State(cluster="lab", spec=ClusterSpec((SPEC,)), ledger=Ledger(nodes=(record,)))
    store.save(path, state)
    written = json.loads(path.read_text())
    del written["ledger"]["refused_at"], written["monitor_command"], written["spec"]["deployments"][0]["on_failure"]
    written["spec"]["deployments"][0]["colour"] = "of a later version"
    path.write_text(json.dumps(written))
    assert store.load(path) == state


def test_who_reads_while_it_is_replaced_finds_one_whole_state(tmp_path: Path) -> None:
    path = tmp_path / "state.json"
    states = [State(cluster=f"{number}-" + "x" * 20000 * (number % 3)) for number in range(60)]
    store.save(path, states[0])
    found: list[State | None] = []
    done = threading.Event()

    def look() -> None:
        while not done.is_set():
            found.append(store.load(path))

    reader = threading.Thread(target=look)
    reader.start()
    for state in states:
        store.save(path, state)
    done.set()
    reader.join(30)
    assert set(found) <= set(states)
    assert [file.name for file in tmp_path.iterdir()] == ["state.json"]


def test_a_state_that_cannot_be_written_leaves_the_old_one_standing(tmp_path: Path) -> None:
    path = tmp_path / "state.json"
    store.save(path, State(cluster="lab"))
    broken = replace(State(cluster="lab"), provider="\udcff")  # what an argument that is no UTF-8 becomes in Python
    with pytest.raises(ValueError, match="surrogates"):
        store.save(path, broken)
    assert store.load(path) == State(cluster="lab")
