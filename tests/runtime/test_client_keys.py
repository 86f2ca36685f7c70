"""The clients' keys on the head: what each request changes, what is refused, and that nothing but ids is told."""

import json
from pathlib import Path
from typing import Any

import pytest

from elastic_deploy.model.client_keys import key_id, keys_in
from elastic_deploy.model.errors import InvalidConfigError, RefusedError, UsageError, UserError
from elastic_deploy.runtime import client_keys

FIRST, SECOND = "the-first-key-of-chat", "the-second-key-of-chat"


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    (tmp_path / "chat").write_text(f"{FIRST}\n\n  {SECOND}  \n")
    (tmp_path / "other").write_text("the-only-key-of-other")
    return tmp_path


def kept(directory: Path, deployment: str = "chat") -> tuple[str, ...]:
    return keys_in((directory / deployment).read_text())


def asked(directory: Path, **request: Any) -> dict[str, Any]:
    """The answer; whatever is journalled holds no key, and the file is its user's alone."""
    before = kept(directory)
    found, told = client_keys.answer(directory, ["chat", "other"], {"deployment": "chat", **request})
    text = json.dumps([draft.message + draft.kind for draft in told])
    assert not any(key in text for key in (*before, *kept(directory)))
    assert bool(told) == (kept(directory) != before)
    if told:
        assert (directory / "chat").stat().st_mode & 0o777 == 0o600
        assert all(draft.deployment == "chat" for draft in told)
    return found


def test_a_list_has_the_ids_and_the_first_is_the_one_that_is_handed_out(directory: Path) -> None:
    answer = asked(directory, action="list", deployment=None)
    assert answer == {
        "deployments": [
            {"name": "chat", "ids": [key_id(FIRST), key_id(SECOND)]},
            {"name": "other", "ids": [key_id("the-only-key-of-other")]},
        ]
    }
    assert asked(directory, action="list") == {"deployments": answer["deployments"][:1]}
    assert FIRST not in json.dumps(answer)


def test_an_added_key_comes_last_so_that_another_is_handed_out(directory: Path) -> None:
    answer = asked(directory, action="add")
    assert kept(directory) == (FIRST, SECOND, answer["key"])
    assert answer["id"] == key_id(answer["key"])
    assert len(answer["key"]) >= 40


def test_a_given_key_is_taken_and_not_told_back(directory: Path) -> None:
    given = "x" * 16
    assert asked(directory, action="add", key=given) == {"deployment": "chat", "id": key_id(given)}
    assert kept(directory)[-1] == given


@pytest.mark.parametrize(
    "key", ["", "short", "x" * 15, "with a space in it", "tab\tinside-of-it", "ümlaut" * 3, "x" * 513]
)
def test_what_may_not_be_a_key_is_refused_and_not_shown(directory: Path, key: str) -> None:
    before = kept(directory)
    with pytest.raises(InvalidConfigError) as refused:
        asked(directory, action="add", key=key)
    assert not key or key not in refused.value.message
    assert kept(directory) == before


def test_a_key_that_is_there_already_is_refused(directory: Path) -> None:
    with pytest.raises(InvalidConfigError, match=f"a key {key_id(SECOND)} already"):
        asked(directory, action="add", key=SECOND)


def test_a_rotation_keeps_the_old_keys_until_they_are_revoked(directory: Path) -> None:
    answer = asked(directory, action="rotate")
    assert kept(directory) == (answer["key"], FIRST, SECOND)
    assert (answer["valid"], answer["revoked"]) == ([key_id(FIRST), key_id(SECOND)], [])


def test_a_rotation_can_end_the_old_keys_at_once(directory: Path) -> None:
    answer = asked(directory, action="rotate", revoke_old=True)
    assert kept(directory) == (answer["key"],)
    assert (answer["valid"], answer["revoked"]) == ([], [key_id(FIRST), key_id(SECOND)])


def test_a_revoked_key_is_gone_and_the_next_is_handed_out(directory: Path) -> None:
    answer = asked(directory, action="revoke", id=key_id(FIRST))
    assert kept(directory) == (SECOND,)
    assert answer == {"deployment": "chat", "id": key_id(FIRST), "key": SECOND, "valid": [key_id(SECOND)]}


def test_the_last_key_is_never_revoked(directory: Path) -> None:
    asked(directory, action="revoke", id=key_id(FIRST))
    with pytest.raises(RefusedError, match="is the last key"):
        asked(directory, action="revoke", id=key_id(SECOND))
    assert kept(directory) == (SECOND,)


@pytest.mark.parametrize(
    ("request_", "words", "error"),
    [
        ({"action": "revoke", "id": "00000000"}, "no key 00000000", UsageError),
        ({"action": "revoke", "id": FIRST}, "is no key's id", UsageError),
        ({"action": "revoke"}, "is no key's id", UsageError),
        ({"action": "dance"}, "'dance'", UsageError),
        ({"action": "add", "deployment": None}, "--deployment: chat, other", UsageError),
        ({"action": "list", "deployment": "third"}, "no deployment third", UsageError),
        ({"action": "add", "deployment": "../chat"}, "no deployment", UsageError),
        ({"action": "add", "deployment": "chat.engine"}, "no deployment", UsageError),
        ({"action": "add", "deployment": ["chat"]}, "no deployment", UsageError),
    ],
)
def test_what_cannot_be_is_refused_in_a_sentence_and_changes_nothing(
    directory: Path, request_: dict[str, Any], words: str, error: type[UserError]
) -> None:
    before = kept(directory), sorted(directory.iterdir())
    with pytest.raises(error, match=words) as refused:
        asked(directory, **request_)
    assert refused.value.message.endswith(".")
    assert (kept(directory), sorted(directory.iterdir())) == before


def test_a_cluster_with_one_deployment_needs_no_name_and_one_with_none_says_so(directory: Path) -> None:
    answer, _ = client_keys.answer(directory, ["chat"], {"action": "add"})
    assert answer["deployment"] == "chat"
    with pytest.raises(UsageError, match="no deployment yet"):
        client_keys.answer(directory, [], {"action": "add"})
    assert client_keys.answer(directory, [], {"action": "list"}) == ({"deployments": []}, [])
