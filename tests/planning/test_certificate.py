"""A certificate and its key: usable by a server today, or a reason that names the file."""

import time
from pathlib import Path

import pytest

from elastic_deploy.model.certificate import LARGEST, Certificate, read_certificate
from tests.certificates import DAY, write_pair


def test_a_good_pair_tells_its_names_and_its_end(tmp_path: Path) -> None:
    certificate = read_certificate(*write_pair(tmp_path, days=30))
    assert certificate.names == ("llm.example.com", "127.0.0.1")
    assert abs(certificate.expires_at - time.time() - 30 * DAY) < 60


@pytest.mark.parametrize("curve", [True, False])
def test_a_key_of_another_certificate_is_told(tmp_path: Path, curve: bool) -> None:
    (certificate, _), (_, key) = write_pair(tmp_path, "one"), write_pair(tmp_path, "two", curve=curve)
    with pytest.raises(ValueError, match=f"the private key {key} does not belong to the certificate {certificate}"):
        read_certificate(certificate, key)


def test_an_expired_one_is_told(tmp_path: Path) -> None:
    certificate, key = write_pair(tmp_path, days=-1)
    with pytest.raises(ValueError, match=f"the certificate {certificate} has expired"):
        read_certificate(certificate, key)


def test_a_locked_key_is_told_and_nobody_is_asked_for_its_passphrase(tmp_path: Path) -> None:
    certificate, key = write_pair(tmp_path, passphrase="open sesame")
    with pytest.raises(ValueError, match=f"the private key {key} is locked by a passphrase"):
        read_certificate(certificate, key)


def test_files_that_are_not_what_they_should_be_are_told(tmp_path: Path) -> None:
    certificate, key = write_pair(tmp_path)
    missing, binary, large, cut = (tmp_path / name for name in ("missing", "binary", "large", "cut"))
    binary.write_bytes(b"\xff\xfe\x00")
    large.write_text("-----BEGIN CERTIFICATE-----" + "x" * LARGEST)
    cut.write_text(certificate.read_text()[:100])
    for first, second, words in (
        (missing, key, f"the certificate {missing} cannot be read \\(No such file"),
        (certificate, missing, f"the private key {missing} cannot be read \\(No such file"),
        (tmp_path, key, "cannot be read \\(Is a directory\\)"),
        (binary, key, "is no text"),
        (large, key, "is larger than"),
        (key, certificate, f"{key} holds no certificate in PEM"),
        (certificate, certificate, "holds no private key in PEM"),
        (cut, key, "cannot be used together"),
    ):
        with pytest.raises(ValueError, match=words):
            read_certificate(first, second)


def test_it_covers_its_names_and_no_others(tmp_path: Path) -> None:
    certificate = read_certificate(*write_pair(tmp_path))
    assert certificate.covers("LLM.example.com.")
    assert certificate.covers("127.0.0.1")
    for host in ("example.com", "a.llm.example.com", "127.0.0.2", ""):
        assert not certificate.covers(host)


def test_names_are_compared_as_clients_compare_them() -> None:
    certificate = Certificate(("*.Example.com", "0:0:0:0:0:0:0:1"), 0.0)
    assert certificate.covers("llm.example.com")
    assert certificate.covers("::1")
    assert certificate.covers("[::1]")
    for host in ("a.llm.example.com", "example.com", "::2"):
        assert not certificate.covers(host)
