"""`keys`: what it asks of the head, which files it leaves, what it says, and that no key is ever shown."""

import json
import subprocess
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from elastic_deploy.cli.key_files import keep_key, key_path
from elastic_deploy.model.client_keys import key_id
from tests.cli.conftest import CLUSTER, Finished, Script, command_line, error, ok

NEW = "a-new-key-that-nobody-may-see"
OLD = "an-old-key-that-nobody-may-see"
GIVEN = "a-given-key-that-nobody-may-see"
NEW_ID, OLD_ID = key_id(NEW), key_id(OLD)

Cli = Callable[..., Finished]


def unseen(done: Finished) -> Finished:
    """The same, in which no key is."""
    assert not any(key in done.out + done.err for key in (NEW, OLD, GIVEN))
    assert "Traceback" not in done.err
    return done


def files(home: Path) -> dict[str, str]:
    """The key files here and what they hold; each is its user's alone."""
    directory = home / CLUSTER / "keys"
    found = sorted(directory.iterdir()) if directory.exists() else []
    assert all(path.stat().st_mode & 0o777 == 0o600 for path in found)
    return {path.name: path.read_text() for path in found}


def with_stdin(text: str, *arguments: object) -> Finished:
    done = subprocess.run(command_line(*arguments), input=text, capture_output=True, text=True, timeout=60)
    return Finished(done.returncode, done.stdout, done.stderr)


def asked(head: Script) -> dict[str, Any]:
    (payload,) = (call["payload"] for call in head.calls if call["verb"] == "keys")
    return dict(payload)


def test_list_shows_ids_which_is_handed_out_and_which_this_machine_keeps(
    cli: Cli, cluster_yaml: Path, head: Script
) -> None:
    keep_key(CLUSTER, "tiny", NEW)
    keep_key(CLUSTER, "tiny", OLD, added=OLD_ID)
    head.answer("keys", [ok(deployments=[{"name": "tiny", "ids": ["0" * 8, NEW_ID, OLD_ID]}])])
    done = unseen(cli("keys", cluster_yaml, "list"))
    assert done.code == 0
    lines = [line.split() for line in done.out.splitlines()[2:]]
    assert lines == [
        ["0" * 8, "yes"],
        [NEW_ID, str(key_path(CLUSTER, "tiny"))],
        [OLD_ID, str(key_path(CLUSTER, "tiny", OLD_ID))],
    ]
    assert asked(head) == {"action": "list", "deployment": None}
    document = json.loads(unseen(cli("keys", cluster_yaml, "list", "-o", "json")).out)
    assert document == {
        "deployments": [
            {
                "name": "tiny",
                "keys": [
                    {"id": "0" * 8, "handed_out": True, "file": ""},
                    {"id": NEW_ID, "handed_out": False, "file": str(key_path(CLUSTER, "tiny"))},
                    {"id": OLD_ID, "handed_out": False, "file": str(key_path(CLUSTER, "tiny", OLD_ID))},
                ],
                "stale_file": "",
            }
        ]
    }


def test_list_says_that_the_key_of_this_machine_is_not_valid_any_more(
    cli: Cli, cluster_yaml: Path, head: Script
) -> None:
    keep_key(CLUSTER, "tiny", OLD)
    head.answer("keys", [ok(deployments=[{"name": "tiny", "ids": [NEW_ID]}])])
    done = unseen(cli("keys", cluster_yaml, "list"))
    assert "not valid" in done.out
    assert str(key_path(CLUSTER, "tiny")) in done.out


def test_add_leaves_a_file_and_prints_its_path(cli: Cli, cluster_yaml: Path, head: Script, home: Path) -> None:
    keep_key(CLUSTER, "tiny", OLD)
    head.answer("keys", [ok(deployment="tiny", id=NEW_ID, key=NEW)])
    done = unseen(cli("keys", cluster_yaml, "--deployment", "tiny", "add"))
    assert done.code == 0
    assert done.out == f"{key_path(CLUSTER, 'tiny', NEW_ID)}\n"
    assert files(home) == {"tiny": f"{OLD}\n", f"tiny.{NEW_ID}": f"{NEW}\n"}
    assert asked(head) == {"action": "add", "deployment": "tiny"}


def test_add_from_stdin_sends_the_key_and_leaves_no_file(cluster_yaml: Path, head: Script, home: Path) -> None:
    head.answer("keys", [ok(deployment="tiny", id=key_id(GIVEN))])
    done = unseen(with_stdin(f"{GIVEN}\n", "keys", cluster_yaml, "add", "--stdin", "-o", "json"))
    assert done.code == 0
    assert json.loads(done.out) == {"deployment": "tiny", "id": key_id(GIVEN), "file": ""}
    assert asked(head) == {"action": "add", "deployment": None, "key": GIVEN}
    assert files(home) == {}


@pytest.mark.parametrize("key", ["", "short-and-secret", "with a space and secret", "x" * 600])
def test_a_key_that_may_be_none_is_exit_3_and_nothing_is_asked(key: str, cluster_yaml: Path, head: Script) -> None:
    done = with_stdin(key[:15] if key.startswith("short") else key, "keys", cluster_yaml, "add", "--stdin")
    assert (done.code, len(done.err.splitlines()), done.out) == (3, 1, "")
    assert "secret" not in done.err
    assert head.calls == []


def test_a_key_that_cannot_be_written_down_is_revoked_again(
    cli: Cli, cluster_yaml: Path, head: Script, home: Path
) -> None:
    (home / CLUSTER / "keys").write_text("a file where the directory should be")
    head.answer("keys", [ok(deployment="tiny", id=NEW_ID, key=NEW)], [ok(deployment="tiny", id=NEW_ID, valid=[OLD_ID])])
    done = unseen(cli("keys", cluster_yaml, "add"))
    assert done.code == 7
    assert "revoked again" in done.err
    assert head.calls[-1]["payload"] == {"action": "revoke", "deployment": "tiny", "id": NEW_ID}


def test_rotate_puts_the_new_key_where_status_says(cli: Cli, cluster_yaml: Path, head: Script, home: Path) -> None:
    keep_key(CLUSTER, "tiny", OLD)
    head.answer("keys", [ok(deployment="tiny", id=NEW_ID, key=NEW, valid=[OLD_ID], revoked=[])])
    done = unseen(cli("keys", cluster_yaml, "rotate", "-o", "json"))
    assert done.code == 0
    assert files(home) == {"tiny": f"{NEW}\n"}
    assert asked(head) == {"action": "rotate", "deployment": None, "revoke_old": False}
    assert json.loads(done.out) == {
        "deployment": "tiny",
        "id": NEW_ID,
        "file": str(key_path(CLUSTER, "tiny")),
        "valid": [NEW_ID, OLD_ID],
        "revoked": [],
    }
    assert OLD_ID in done.err


def test_rotate_that_revokes_removes_the_files_of_the_revoked(
    cli: Cli, cluster_yaml: Path, head: Script, home: Path
) -> None:
    keep_key(CLUSTER, "tiny", OLD, added=OLD_ID)
    head.answer("keys", [ok(deployment="tiny", id=NEW_ID, key=NEW, valid=[], revoked=[OLD_ID])])
    done = unseen(cli("keys", cluster_yaml, "rotate", "--revoke-old"))
    assert done.out == f"{key_path(CLUSTER, 'tiny')}\n"
    assert asked(head)["revoke_old"] is True
    assert files(home) == {"tiny": f"{NEW}\n"}


def test_revoke_removes_the_file_of_an_added_key(cli: Cli, cluster_yaml: Path, head: Script, home: Path) -> None:
    keep_key(CLUSTER, "tiny", OLD)
    keep_key(CLUSTER, "tiny", NEW, added=NEW_ID)
    head.answer("keys", [ok(deployment="tiny", id=NEW_ID, key=OLD, valid=[OLD_ID])])
    done = unseen(cli("keys", cluster_yaml, "revoke", NEW_ID))
    assert (done.code, done.out) == (0, "")
    assert asked(head) == {"action": "revoke", "deployment": None, "id": NEW_ID}
    assert files(home) == {"tiny": f"{OLD}\n"}


def test_revoking_the_key_of_this_machine_leaves_it_the_one_that_is_handed_out_now(
    cli: Cli, cluster_yaml: Path, head: Script, home: Path
) -> None:
    keep_key(CLUSTER, "tiny", OLD)
    head.answer("keys", [ok(deployment="tiny", id=OLD_ID, key=NEW, valid=[NEW_ID])])
    done = unseen(cli("keys", cluster_yaml, "revoke", OLD_ID))
    assert files(home) == {"tiny": f"{NEW}\n"}
    assert NEW_ID in done.err


@pytest.mark.parametrize(("code", "message"), [(2, "There is no key 00000000."), (7, "It is the last key.")])
def test_a_refusal_of_the_head_is_said_and_touches_no_file(
    cli: Cli, cluster_yaml: Path, head: Script, home: Path, code: int, message: str
) -> None:
    keep_key(CLUSTER, "tiny", OLD)
    head.answer("keys", [error(code, message)])
    done = cli("keys", cluster_yaml, "revoke", OLD_ID)
    assert (done.code, done.err) == (code, f"Error: {message}\n")
    assert files(home) == {"tiny": f"{OLD}\n"}


@pytest.mark.parametrize(
    "words",
    [
        (),
        ("dance",),
        ("revoke",),
        ("list", NEW_ID),
        ("add", NEW_ID),
        ("rotate", "--stdin"),
        ("add", "--revoke-old"),
        ("revoke", NEW_ID, "more"),
    ],
)
def test_a_wrong_command_line_is_exit_2_and_one_sentence(
    cli: Cli, cluster_yaml: Path, head: Script, words: tuple[str, ...]
) -> None:
    done = cli("keys", cluster_yaml, *words)
    assert (done.code, done.out, len(done.err.splitlines())) == (2, "", 1)
    assert head.calls == []


def test_a_cluster_that_does_not_run_has_no_keys(cli: Cli, cluster_yaml: Path) -> None:
    done = cli("keys", cluster_yaml, "list")
    assert (done.code, len(done.err.splitlines())) == (7, 1)


def test_no_key_stands_in_any_argument(cluster_yaml: Path, head: Script, tmp_path: Path) -> None:
    """The head is slow, and every process on the machine is looked at meanwhile."""
    head.answer("keys", [{"sleep": 3}, ok(deployment="tiny", id=key_id(GIVEN))])
    command, seen = command_line("keys", cluster_yaml, "add", "--stdin"), 0
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True) as process:
        assert process.stdin is not None
        process.stdin.write(GIVEN)
        process.stdin.close()
        while process.poll() is None:
            for entry in Path("/proc").iterdir():
                with suppress(OSError):
                    text = (entry / "cmdline").read_bytes()
                    assert GIVEN.encode() not in text
                    seen += str(tmp_path).encode() in text
    assert process.returncode == 0
    assert seen > 1
