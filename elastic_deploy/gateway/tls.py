"""The certificate that the door shows, read again when it is renewed.

Made by `server` where the settings name one, polled by it, asked by `listen` at every new connection. Connections that
are open keep what they began with. Nothing is lost while a renewal is half written: the old certificate stays in force
until certificate and key fit each other.
"""

import ssl

from elastic_deploy.gateway.files import Signature, signature
from elastic_deploy.gateway.log import Log
from elastic_deploy.gateway.settings import TlsFiles
from elastic_deploy.model.errors import InvalidConfigError


class Certificate:
    """What `files` hold. Raises InvalidConfigError where they cannot be used at the start."""

    def __init__(self, files: TlsFiles, log: Log) -> None:
        self._files = files
        self._log = log
        self._signatures = self._look()
        self.context = _context(files)

    def poll(self) -> None:
        """Look once, and take up what is new if it is good."""
        signatures = self._look()
        if signatures == self._signatures:
            return
        self._signatures = signatures
        try:
            # A new context, not the old one loaded again: that would lose its key to a certificate of another key.
            self.context = _context(self._files)
        except InvalidConfigError as error:
            self._log.event("certificate_refused", error=error.message, kept=True)
        else:
            self._log.event("certificate", renewed=True)

    def _look(self) -> tuple[Signature, Signature]:
        return signature(self._files.cert), signature(self._files.key)


def _context(files: TlsFiles) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_alpn_protocols(["http/1.1"])
    for path in (files.cert, files.key):
        try:
            path.read_bytes()
        except OSError as error:
            raise InvalidConfigError(f"The gateway cannot read {path} for TLS: {error.strerror}.") from error
    try:
        # Without a password of ours OpenSSL would ask for one on the terminal.
        context.load_cert_chain(files.cert, files.key, password="")
    except (OSError, ValueError) as error:
        raise InvalidConfigError(
            f"The gateway cannot use {files.cert} and {files.key} for TLS: {_why(error)}. "
            "It takes a certificate with its chain and an unencrypted private key, both in PEM."
        ) from error
    return context


def _why(error: Exception) -> str:
    if isinstance(error, ssl.SSLError) and error.reason == "KEY_VALUES_MISMATCH":
        return "the key is not the certificate's"
    reason = error.reason if isinstance(error, ssl.SSLError) else None
    return (reason or "they are not in PEM, or the key is encrypted").replace("_", " ").lower()
