"""Looks at the files of this machine that a launch uses: the private key, and the sources of `file_mounts`."""

import base64
import hashlib
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric import ed25519, rsa
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_pem_private_key,
    load_ssh_private_key,
)

from elastic_deploy.cluster.aws.preflight.facts import NOT_ASKED, FileFact, Unknown
from elastic_deploy.cluster.config import ClusterConfig

_BITS = 0o777


def file_fact(written: str) -> FileFact:
    """Whether the file is there, and its permissions."""
    try:
        return FileFact(True, Path(written).expanduser().stat().st_mode & _BITS)
    except OSError:
        return FileFact(False)


def mounts(config: ClusterConfig) -> dict[str, FileFact]:
    """The sources of `file_mounts`, as they are written."""
    return {str(each): file_fact(str(each)) for each in (config.raw.get("file_mounts") or {}).values()}


def fingerprints(private_key: str) -> tuple[str, ...] | Unknown:
    """Every fingerprint under which EC2 may show the key pair.

    ED25519: SHA-256 of the public key in SSH's format, in base64. RSA: SHA-1 of the private key in PKCS#8, if EC2 made
    the pair; MD5 of the public key in DER, if it was imported (EC2 user guide, "Verify the fingerprint of your key
    pair").
    """
    if not private_key:
        return NOT_ASKED
    try:
        text = Path(private_key).expanduser().read_bytes()
        load = load_ssh_private_key if b"OPENSSH PRIVATE KEY" in text else load_pem_private_key
        key = load(text, password=None)
    except (OSError, ValueError, TypeError) as error:
        return Unknown(f"{private_key} cannot be read as a private key ({error})")
    if isinstance(key, ed25519.Ed25519PrivateKey):
        line = key.public_key().public_bytes(Encoding.OpenSSH, PublicFormat.OpenSSH)
        digest = hashlib.sha256(base64.b64decode(line.split()[1])).digest()
        return (base64.b64encode(digest).decode(),)
    if isinstance(key, rsa.RSAPrivateKey):
        private = key.private_bytes(Encoding.DER, PrivateFormat.PKCS8, NoEncryption())
        public = key.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
        return (
            hashlib.sha1(private, usedforsecurity=False).hexdigest(),
            hashlib.md5(public, usedforsecurity=False).hexdigest(),
        )
    return Unknown(f"{private_key} is neither an RSA nor an ED25519 key")
