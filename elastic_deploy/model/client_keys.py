"""The keys of a deployment's clients: how they are named, what may be one, and how a list of them changes. Pure.

The first of a list is the one that `up` hands out. A key is named by its id, from which it cannot be guessed.
"""

import hashlib
import re
import secrets
from collections.abc import Sequence

from elastic_deploy.model.errors import InvalidConfigError, RefusedError, UsageError

SHORTEST, LONGEST = 16, 512
"""Characters of a key. Below 16 it could be guessed; servers refuse headers of some kilobytes."""

_KEY = re.compile(r"[!-~]+")
_ID = re.compile(r"[0-9a-f]{8}")


def key_id(key: str) -> str:
    """What a key is called: the first 8 hexadecimal digits of its SHA-256."""
    return hashlib.sha256(key.encode("utf-8", "surrogateescape")).hexdigest()[:8]


def keys_in(text: str) -> tuple[str, ...]:
    """The keys in a file's text, one a line."""
    return tuple(line.strip() for line in text.splitlines() if line.strip())


def new_key() -> str:
    """A key that nobody can guess."""
    return secrets.token_urlsafe(32)


def require_key(key: str) -> str:
    """The key, if it may be one. Raises InvalidConfigError with the rule that it breaks, and never shows it."""
    if not SHORTEST <= len(key) <= LONGEST:
        raise InvalidConfigError(f"This key has {len(key)} characters: it must have {SHORTEST} to {LONGEST}.")
    if not _KEY.fullmatch(key):
        raise InvalidConfigError("This key has a space or a character beyond printable ASCII: use another.")
    return key


def with_key(keys: Sequence[str], key: str, *, first: bool) -> tuple[str, ...]:
    """The list with one key more. Raises InvalidConfigError where it is there already, or its id."""
    if key_id(key) in map(key_id, keys):
        raise InvalidConfigError(f"There is a key {key_id(key)} already: give another.")
    return (key, *keys) if first else (*keys, key)


def without_key(keys: Sequence[str], wanted: str) -> tuple[str, ...]:
    """The list without the key of that id.

    Raises UsageError where there is none, RefusedError where it is the last one: nobody could use the deployment.
    """
    if not _ID.fullmatch(wanted):
        raise UsageError(f"{wanted!r} is no key's id, which has 8 hexadecimal digits: `keys CLUSTER list` shows them.")
    kept = tuple(key for key in keys if key_id(key) != wanted)
    if len(kept) == len(keys):
        raise UsageError(f"There is no key {wanted}: `keys CLUSTER list` shows those that there are.")
    if not kept:
        raise RefusedError(
            f"{wanted} is the last key, and without one nobody could use the deployment: "
            "`keys CLUSTER rotate --revoke-old` puts a new one in its place."
        )
    return kept
