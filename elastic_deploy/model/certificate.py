"""Whether a certificate and its private key serve a front door: found out by a handshake in memory, with no socket.

Asked by the CLI before anything is touched, and on the head before the files are put in place.
"""

import ssl
from dataclasses import dataclass
from ipaddress import ip_address
from pathlib import Path

_EXPIRED = 10  # X509_V_ERR_CERT_HAS_EXPIRED, in OpenSSL's x509_vfy.h
_NOT_YET = 9  # X509_V_ERR_CERT_NOT_YET_VALID
_MISMATCHES = ("KEY_VALUES_MISMATCH", "KEY_TYPE_MISMATCH", "NO_CERTIFICATE_ASSIGNED")
"""OpenSSL's words for a key that belongs to another certificate, of the same kind or of another."""

LARGEST = 128 * 1024
"""Bytes of one file at the most; a chain of certificates has some kilobytes. Both have to fit into one request."""


@dataclass(frozen=True, slots=True)
class Certificate:
    """What a certificate says: `names` are the host names and addresses that it is for, `expires_at` seconds since
    the epoch.
    """

    names: tuple[str, ...]
    expires_at: float

    def covers(self, host: str) -> bool:
        """Whether clients that ask for `host` will take it for its own."""
        wanted = _plain(host)
        return any(
            wanted == _plain(name) or (name.startswith("*.") and wanted.partition(".")[2] == name[2:].lower())
            for name in self.names
        )


def read_certificate(certificate: Path, key: Path) -> Certificate:
    """What the certificate says, if a server can show it with this key today.

    Raises ValueError with the reason, a clause that names the file that is wrong.
    """
    for what, mark, path in (
        ("certificate", "-----BEGIN CERTIFICATE-----", certificate),
        ("private key", "PRIVATE KEY-----", key),
    ):
        if mark not in _text(what, path):
            raise ValueError(f"{path} holds no {what} in PEM: no line of it has {mark}")
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server.minimum_version = ssl.TLSVersion.TLSv1_2
    try:
        server.load_cert_chain(certificate, key, _refuse_to_ask)
    except _LockedError:
        raise ValueError(
            f"the private key {key} is locked by a passphrase, which nobody can type on the head"
        ) from None
    except (OSError, ValueError) as error:
        raise ValueError(_why_not_loaded(error, certificate, key)) from error
    return _shown_by(server, certificate)


def _text(what: str, path: Path) -> str:
    try:
        if path.stat().st_size > LARGEST:
            raise ValueError(f"the {what} {path} is larger than {LARGEST} bytes, and none is")
        return path.read_text()
    except OSError as error:
        raise ValueError(f"the {what} {path} cannot be read ({error.strerror})") from error
    except UnicodeDecodeError as error:
        raise ValueError(f"the {what} {path} is no text, and PEM is") from error


class _LockedError(Exception):
    pass


def _refuse_to_ask() -> str:
    raise _LockedError


def _why_not_loaded(error: Exception, certificate: Path, key: Path) -> str:
    reason = getattr(error, "reason", None) or ""
    if reason in _MISMATCHES:
        return f"the private key {key} does not belong to the certificate {certificate}"
    said = reason.replace("_", " ").lower() or "one of them is damaged"
    return f"the certificate {certificate} and the private key {key} cannot be used together ({said})"


def _shown_by(server: ssl.SSLContext, path: Path) -> Certificate:
    """The certificate as a client sees it that trusts it and no other."""
    client = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    client.check_hostname = False
    # The certificate itself is the anchor: who issued it is between its owner and the clients.
    client.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
    try:
        client.load_verify_locations(path)
        to_server, to_client = ssl.MemoryBIO(), ssl.MemoryBIO()
        ours = client.wrap_bio(to_client, to_server)
        its = server.wrap_bio(to_server, to_client, server_side=True)
        for side in (ours, its, ours, its):
            try:
                side.do_handshake()
            except ssl.SSLWantReadError:
                continue
        told = ours.getpeercert() or {}
    except ssl.SSLCertVerificationError as error:
        if error.verify_code == _EXPIRED:
            raise ValueError(f"the certificate {path} has expired") from error
        if error.verify_code == _NOT_YET:
            raise ValueError(f"the certificate {path} is not valid yet, by this machine's clock") from error
        raise ValueError(f"the certificate {path} cannot be used by a server ({error.verify_message})") from error
    except ssl.SSLError as error:
        raise ValueError(f"the certificate {path} cannot be used by a server ({error.reason})") from error
    names = tuple(str(pair[1]) for pair in told.get("subjectAltName", ()) if isinstance(pair, tuple) and len(pair) > 1)
    return Certificate(names, ssl.cert_time_to_seconds(str(told["notAfter"])))


def _plain(name: str) -> str:
    try:
        return str(ip_address(name.strip("[]")))
    except ValueError:
        return name.lower().rstrip(".")
