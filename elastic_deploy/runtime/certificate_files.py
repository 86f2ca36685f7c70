"""The front door's certificate and private key on the head, below its directory, for its user alone.

Put in place by the supervisor when one is applied. The gateway watches both files and takes renewed ones up by itself.
"""

from pathlib import Path

from elastic_deploy.model.certificate import read_certificate
from elastic_deploy.model.errors import InvalidConfigError, UsageError
from elastic_deploy.model.front_door import CertificatePair, FrontDoorWish
from elastic_deploy.model.home import write_private


def certificate_path(directory: Path) -> Path:
    """The file that holds the certificate and its chain."""
    return directory / "tls" / "cert.pem"


def key_path(directory: Path) -> Path:
    """The file that holds the private key."""
    return directory / "tls" / "key.pem"


def put_certificate(directory: Path, wish: FrontDoorWish) -> None:
    """See to it that the certificate that is wished for lies there with its key; nothing where none is.

    Raises InvalidConfigError where the pair cannot be used on this head, UsageError where none was sent and another
    lies there; the old files then stay.
    """
    wanted = wish.options.certificate
    if not wanted:
        return
    certificate, key = certificate_path(directory), key_path(directory)
    if wish.pair is None:
        if _kept(certificate, key) != wanted:
            raise UsageError("The head does not have this certificate, and none was sent: run `up` with --tls-cert.")
        return
    drafts = certificate.with_name("new-cert.pem"), key.with_name("new-key.pem")
    try:
        write_private(drafts[0], wish.pair.certificate)
        write_private(drafts[1], wish.pair.key)
        try:
            read_certificate(*drafts)
        except ValueError as error:
            raise InvalidConfigError(f"The head cannot use this certificate: {error}.") from error
        drafts[1].replace(key)
        drafts[0].replace(certificate)
    finally:
        for draft in drafts:
            draft.unlink(missing_ok=True)


def drop_certificate(directory: Path) -> None:
    """Remove both files, where the front door speaks plain HTTP from now on."""
    key_path(directory).unlink(missing_ok=True)
    certificate_path(directory).unlink(missing_ok=True)


def _kept(certificate: Path, key: Path) -> str:
    try:
        return CertificatePair(certificate.read_text(), key.read_text()).fingerprint
    except (OSError, UnicodeDecodeError):
        return ""
