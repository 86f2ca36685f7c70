"""What a cluster's one front door is asked to be: its port, its certificate, its bounds. It holds for all deployments.

Said in the cluster YAML and by flags, handed to the supervisor with each `apply`, kept in its state, and turned into
the gateway's command line by `runtime.front_door`. What nobody has said is None, and the gateway's own default holds.
"""

import hashlib
from dataclasses import dataclass, field, fields

from elastic_deploy.model.duration import format_duration


@dataclass(frozen=True, slots=True, kw_only=True)
class FrontDoorBounds:
    """How much, and for how long. Durations are seconds, sizes bytes; None leaves it to the gateway."""

    hold_timeout: float | None = None
    """How long a request waits while no engine can serve it; 0 refuses it at once."""
    hold_requests: int | None = None
    """How many requests may wait so."""
    hold_bytes: int | None = None
    """How much their bodies may hold together."""
    max_body_bytes: int | None = None
    """The largest request."""
    max_connections: int | None = None
    """How many clients may be connected."""
    drain_timeout: float | None = None
    """How long a front door that is replaced or ended finishes what it streams."""
    engine_silence_timeout: float | None = None
    """How long an engine may send nothing in the middle of an answer."""


BOUND_DURATIONS = ("hold_timeout", "drain_timeout", "engine_silence_timeout")
"""The bounds that are durations."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FrontDoorOptions:
    """All but the port. `certificate` is the fingerprint of the certificate; "" speaks plain HTTP."""

    certificate: str = ""
    bounds: FrontDoorBounds = field(default_factory=FrontDoorBounds)

    @property
    def scheme(self) -> str:
        """The scheme of the endpoint."""
        return "https" if self.certificate else "http"


@dataclass(frozen=True, slots=True)
class CertificatePair:
    """A certificate with its chain and its private key, in PEM. Never shown, and kept nowhere but in its files."""

    certificate: str = field(repr=False)
    key: str = field(repr=False)

    @property
    def fingerprint(self) -> str:
        """What tells one certificate from another, in a few characters; the key cannot be guessed from it."""
        return hashlib.sha256(self.certificate.encode()).hexdigest()[:16]


@dataclass(frozen=True, slots=True)
class FrontDoorWish:
    """What one `up` asks of the front door. `pair` is there where a certificate is to be taken up."""

    port: int = 8000
    options: FrontDoorOptions = field(default_factory=FrontDoorOptions)
    pair: CertificatePair | None = None


def overlaid(base: FrontDoorBounds, over: FrontDoorBounds) -> FrontDoorBounds:
    """`base` with every bound that `over` says."""
    said = {name: getattr(over, name) for name in _NAMES if getattr(over, name) is not None}
    return FrontDoorBounds(**{name: getattr(base, name) for name in _NAMES} | said)


def front_door_difference(old: FrontDoorWish, new: FrontDoorWish) -> list[str]:
    """What changes from one front door to another, a line each: `port: 8000 -> 9000`."""
    before, after = _described(old), _described(new)
    lines = [f"{name}: {before[name]} -> {after[name]}" for name in before if before[name] != after[name]]
    certificates = old.options.certificate, new.options.certificate
    if all(certificates) and certificates[0] != certificates[1]:
        lines.append("certificate: another one, taken up without a restart")
    return lines


_NAMES = tuple(each.name for each in fields(FrontDoorBounds))


def _described(wish: FrontDoorWish) -> dict[str, str]:
    bounds = {name: _shown(name, getattr(wish.options.bounds, name)) for name in _NAMES}
    return {"port": str(wish.port), "scheme": wish.options.scheme, **bounds}


def _shown(name: str, value: float | None) -> str:
    if value is None:
        return "(default)"
    return format_duration(value) if name in BOUND_DURATIONS else str(value)
