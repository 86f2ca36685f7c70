"""The front door as `up` is told of it: the certificate, the bounds, what is checked, shown, sent and kept silent."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from elastic_deploy.cli.certificate_words import expiry_warning, name_warning
from elastic_deploy.model.certificate import Certificate
from tests.certificates import DAY, write_pair
from tests.cli.conftest import CLUSTER, Finished, Script, deployment, ok, status

UP = ("--model", "tiny", "--gpus", 2, "--port", 8499)
Cli = Callable[..., Finished]


@pytest.fixture
def running(head: Script) -> Script:
    """A head on which the deployment is ready."""
    head.answer("ensure", [ok(session="s", started=False)])
    ready = deployment(endpoint="https://127.0.0.1:8499/v1")
    head.answer("status", status(ready))
    head.answer("compare", [ok(difference=[], exists=True, phase="ready", front_door=[])])
    head.answer("apply", [ok(changed=False, difference=[], api_key="the-secret-key", event="000001")])
    head.answer("events", [{"sleep": 30}])
    return head


def sent(head: Script, verb: str) -> dict[str, Any]:
    (payload,) = (call["payload"] for call in head.calls if call["verb"] == verb)
    return dict(payload)


def with_settings(cluster_yaml: Path, settings: dict[str, Any]) -> None:
    text = cluster_yaml.read_text()
    assert "metadata" not in text
    cluster_yaml.write_text(f"{text}\nmetadata: {json.dumps({'elastic_deploy': settings})}\n")


def test_the_pair_goes_to_the_head_in_apply_alone(
    cli: Cli, cluster_yaml: Path, running: Script, tmp_path: Path
) -> None:
    certificate, key = write_pair(tmp_path)
    done = cli("up", cluster_yaml, *UP, "--tls-cert", certificate, "--tls-key", key, "--hold-timeout", "90s")
    assert done.code == 0, done.err
    applied, compared = sent(running, "apply"), sent(running, "compare")
    assert applied["tls"] == {"certificate": certificate.read_text(), "key": key.read_text()}
    assert applied["door"]["bounds"]["hold_timeout"] == 90.0
    assert applied["door"] == compared["door"]
    assert len(applied["door"]["certificate"]) == 16
    secret = key.read_text().splitlines()[1]
    others = [call for call in running.calls if call["verb"] != "apply"]
    assert secret not in json.dumps(others) + done.out + done.err
    assert "Warning" not in done.err


def test_without_a_pair_plain_http_and_the_gateways_defaults_are_asked(
    cli: Cli, cluster_yaml: Path, running: Script
) -> None:
    assert cli("up", cluster_yaml, *UP).code == 0
    applied = sent(running, "apply")
    assert "tls" not in applied
    assert applied["door"]["certificate"] == ""
    assert set(applied["door"]["bounds"].values()) == {None}


def test_the_files_paths_are_taken_from_the_cluster_yamls_directory(
    cli: Cli, cluster_yaml: Path, running: Script, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    write_pair(cluster_yaml.parent)
    bounds = {"hold_timeout": "5m", "hold_requests": 7, "drain_timeout": "1m"}
    with_settings(cluster_yaml, {"tls_cert": "tls-cert.pem", "tls_key": "./tls-key.pem", "gateway": bounds})
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    done = cli("up", cluster_yaml, *UP, "--hold-timeout", "0")
    assert done.code == 0, done.err
    applied = sent(running, "apply")
    assert applied["tls"]["certificate"] == (cluster_yaml.parent / "tls-cert.pem").read_text()
    said = {name: value for name, value in applied["door"]["bounds"].items() if value is not None}
    assert said == {"hold_timeout": 0.0, "hold_requests": 7, "drain_timeout": 60.0}


def test_a_difference_of_the_front_door_is_shown_as_everybodys(cli: Cli, cluster_yaml: Path, running: Script) -> None:
    lines = ["scheme: https -> http", "hold_timeout: 5m -> (default)"]
    running.answer("compare", [ok(difference=[], exists=True, phase="ready", front_door=lines)])
    done = cli("up", cluster_yaml, *UP)
    for line in lines:
        assert f"of every deployment of {CLUSTER}: {line}" in done.err


@pytest.mark.parametrize("command", ["up", "plan"])
def test_a_pair_that_cannot_be_used_is_exit_3_and_touches_nothing(
    command: str, cli: Cli, cluster_yaml: Path, tmp_path: Path, home: Path
) -> None:
    certificate, key = write_pair(tmp_path)
    old, old_key = write_pair(tmp_path, "old", days=-1)
    other, other_key = write_pair(tmp_path, "other")
    for first, second, words in (
        (tmp_path / "none", key, "No such file"),
        (other, key, "does not belong"),
        (certificate, other_key, "does not belong"),
        (old, old_key, "has expired"),
    ):
        done = cli(command, cluster_yaml, *UP, "--tls-cert", first, "--tls-key", second)
        assert (done.code, done.out, len(done.err.splitlines())) == (3, "", 1)
        assert words in done.err
    assert not home.exists()


@pytest.mark.parametrize(
    "words", [("--tls-cert", "x"), ("--tls-key", "x"), ("--hold-timeout", "none"), ("--hold-timeout", "soon")]
)
def test_a_wrong_flag_is_exit_2_and_one_sentence(cli: Cli, cluster_yaml: Path, words: tuple[str, ...]) -> None:
    done = cli("up", cluster_yaml, *UP, *words)
    assert (done.code, done.out, len(done.err.splitlines())) == (2, "", 1)
    assert words[0] in done.err


def test_a_certificate_that_expires_soon_is_a_warning(
    cli: Cli, cluster_yaml: Path, running: Script, tmp_path: Path
) -> None:
    assert running.calls == []
    certificate, key = write_pair(tmp_path, days=6.5)
    done = cli("up", cluster_yaml, *UP, "--tls-cert", certificate, "--tls-key", key)
    assert done.code == 0
    assert "Warning: the front door's certificate expires in 6d 1" in done.err


def test_what_is_said_of_a_certificate() -> None:
    certificate = Certificate(("llm.example.com",), 100 * DAY)
    assert expiry_warning(None, 0.0) == ""
    assert expiry_warning(certificate, 92.9 * DAY) == ""
    assert "expires in 6d 12h" in expiry_warning(certificate, 93.5 * DAY)
    assert name_warning(None, "http://10.0.0.1:8000/v1") == ""
    assert name_warning(certificate, "https://llm.example.com:8000/v1") == ""
    assert "is for llm.example.com" in name_warning(certificate, "https://10.0.0.1:8000/v1")
    assert "names no host" in name_warning(Certificate((), 0.0), "https://10.0.0.1:8000/v1")
