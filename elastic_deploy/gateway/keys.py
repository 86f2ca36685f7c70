"""Who may use which deployment: pure, from the keys as read to the set of deployments that a key opens.

Keys are compared as digests, in constant time, and every one is compared: how long it takes tells neither which
deployment a key is near to nor how much of it is right.
"""

import hashlib
import hmac
from collections.abc import Iterable, Mapping

SCHEME = "bearer "

Digest = bytes


def digest(key: str) -> Digest:
    """What is kept of a key: SHA-256, so that all have one length and none lies readable in memory."""
    return hashlib.sha256(key.encode("utf-8", "surrogateescape")).digest()


def digests(text: str) -> tuple[Digest, ...]:
    """Of a key file's text, one key a line; blank lines are none."""
    return tuple(digest(line.strip()) for line in text.splitlines() if line.strip())


def bearer(authorization: str) -> str:
    """The key in an Authorization header, "" where it holds none."""
    if authorization[: len(SCHEME)].lower() != SCHEME:
        return ""
    return authorization[len(SCHEME) :].strip()


def opened(key: str, known: Mapping[str, Iterable[Digest]]) -> frozenset[str]:
    """The deployments that `key` opens, of those whose digests are `known`."""
    given = digest(key)
    opens: set[str] = set()
    for deployment, accepted in known.items():
        for each in accepted:
            if hmac.compare_digest(given, each):
                opens.add(deployment)
    return frozenset(opens) if key else frozenset()
