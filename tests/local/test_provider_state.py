"""The state on disk: written whole, by one at a time, and gone with the cluster."""

import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest

from elastic_deploy.cluster.local.processes import ProcessId
from elastic_deploy.cluster.local.state import (
    Node,
    Ports,
    State,
    head_node_id,
    live_nodes,
    read,
    shell_command,
    state_dir,
    transaction,
)
from elastic_deploy.model.errors import InvalidConfigError

EMPTY = State(ports=Ports(1, 2, 3), temp_dir="/tmp/x")
DEAD = ProcessId(pid=2**22 + 1, started=1)  # beyond the largest pid there can be


def node(name: str, **changes: object) -> Node:
    plain = Node(
        id=name,
        cluster="c",
        type="gpu",
        is_head=False,
        tags={"a": "b"},
        temp_dir="/tmp/x/y",
        created_at=1.5,
        ready_at=2.5,
    )
    return replace(plain, **changes)  # type: ignore[arg-type]  # names and values are the test's


def write(state: State | None) -> None:
    with transaction("c") as draft:
        draft.state = state


def test_what_is_written_is_read_back(home: Path) -> None:
    full = node("n", sessions=(DEAD,), vital=(DEAD,), up_since=3.5, ended_by=DEAD)
    state = replace(EMPTY.with_node(full), refused=("d", 2), shared_memory=("/dev/shm/z",))

    write(state)

    assert read("c") == state
    assert (home / "c" / "local").stat().st_mode & 0o777 == 0o700
    assert (home / "c" / "local" / "nodes.json").stat().st_mode & 0o777 == 0o600


def test_a_cluster_that_never_was_reads_as_none_and_nothing_is_made(home: Path) -> None:
    assert read("c") is None
    assert live_nodes("c") == ()
    assert head_node_id("c") is None
    assert not home.exists()


def test_an_exception_in_a_transaction_writes_nothing(home: Path) -> None:  # noqa: ARG001
    write(EMPTY)

    def break_off() -> None:
        with transaction("c") as draft:
            draft.state = EMPTY.with_node(node("n"))
            raise KeyError

    with pytest.raises(KeyError):
        break_off()

    assert read("c") == EMPTY


def test_an_emptied_state_takes_its_directory_along(home: Path) -> None:
    write(EMPTY)
    write(None)

    assert read("c") is None
    assert list((home / "c").iterdir()) == []


def test_threads_and_processes_lose_none_of_each_others_changes(home: Path) -> None:  # noqa: ARG001
    write(EMPTY)

    def count() -> None:
        with transaction("c") as draft:
            assert draft.state
            draft.state = replace(draft.state, refused=("d", draft.state.refused[1] + 1))

    code = """if True:
        from dataclasses import replace
        from elastic_deploy.cluster.local.state import transaction
        for _ in range(25):
            with transaction("c") as draft:
                draft.state = replace(draft.state, refused=("d", draft.state.refused[1] + 1))
    """
    others = [subprocess.Popen([sys.executable, "-c", code]) for _ in range(2)]
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda _: count(), range(50)))

    assert [other.wait(30) for other in others] == [0, 0]
    final = read("c")
    assert final
    assert final.refused == ("d", 100)


def test_a_writer_that_waited_while_the_directory_was_removed_starts_anew(home: Path) -> None:  # noqa: ARG001
    def remove_and_make(turn: int) -> None:
        write(None if turn % 2 else EMPTY)

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(remove_and_make, range(200)))

    write(EMPTY)
    assert read("c") == EMPTY


def test_live_nodes_are_those_neither_dead_nor_being_ended_the_head_first(home: Path) -> None:  # noqa: ARG001
    state = EMPTY
    for one in (
        node("late", created_at=9.0),
        node("early"),
        node("dead", vital=(DEAD,)),
        node("ending", ended_by=DEAD),
        node("head", is_head=True, created_at=5.0),
    ):
        state = state.with_node(one)
    write(state)

    assert [one.id for one in live_nodes("c")] == ["head", "early", "late"]
    assert head_node_id("c") == "head"


def test_the_shell_command_is_an_argv_to_which_a_command_is_appended(home: Path) -> None:
    assert shell_command("c", "n") == [str(home / "c" / "local" / "nodes" / "n" / "shell")]


@pytest.mark.parametrize("name", ["", "..", "a/b", "/etc", ".hidden", "a b", "x" * 64, "n\n"])
def test_a_cluster_name_that_is_no_directory_name_is_refused(home: Path, name: str) -> None:  # noqa: ARG001
    with pytest.raises(InvalidConfigError):
        state_dir(name)


def test_the_state_is_read_without_ray(home: Path) -> None:  # noqa: ARG001
    code = "import sys, elastic_deploy.cluster.local.nodes; sys.exit('ray' in sys.modules)"

    assert subprocess.run([sys.executable, "-c", code], timeout=30, check=False).returncode == 0
