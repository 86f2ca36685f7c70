"""A machine that cannot carry a lab says what it lacks."""

import os
import shutil

import pytest

from tests.ec2lab import requirements
from tests.ec2lab.lab import Lab


def test_only_root_can_make_a_lab(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    assert Lab.missing() == ["The lab makes namespaces and mounts: it has to run as root."]


def test_absent_programs_are_named_with_their_packages(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    there = {name for name in requirements.PACKAGES if name not in ("sshd", "rsync")}
    monkeypatch.setattr(shutil, "which", lambda name, path: f"/bin/{name}" if path and name in there else None)
    assert Lab.missing() == ["There is no sshd, rsync here: apt-get install openssh-server rsync"]


def test_a_machine_without_namespaces_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    monkeypatch.setattr(shutil, "which", lambda name, path: f"{path}/{name}")
    monkeypatch.setattr(requirements, "TRIAL", ["sh", "-c", "echo unshare failed: Operation not permitted >&2; exit 1"])
    (sentence,) = Lab.missing()
    assert sentence.endswith("unshare failed: Operation not permitted")


@pytest.mark.parametrize(
    ("value", "failure"), [("true", True), ("1", True), ("false", False), ("", False), (None, False)]
)
def test_a_missing_lab_fails_in_ci_only(value: str | None, failure: bool) -> None:
    assert requirements.absent_is_failure({} if value is None else {"CI": value}) == failure
