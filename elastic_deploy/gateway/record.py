"""What became of one request: filled in on its way, told to the log and the metrics at its end."""

import secrets
import time
from dataclasses import dataclass, field
from enum import StrEnum

from elastic_deploy.model.names import EngineName


class Outcome(StrEnum):
    """How a request ended, beyond its HTTP status."""

    ANSWERED = "answered"
    REFUSED = "refused"
    BROKEN = "broken"
    """The engine ended in the middle of an answer."""
    CLIENT_GONE = "client_gone"
    CLIENT_STALLED = "client_stalled"
    """The client took nothing of its answer for too long."""
    CUT_OFF = "cut_off"
    """The gateway stopped, and the answer outlasted its drain."""


@dataclass(slots=True)
class Record:
    """One request. `held`, `first_byte` and `seconds` are seconds, the last two since `began` (monotonic).

    `id` is the gateway's own: it goes to the engine and back to the client as X-Request-Id. A client's own id is not
    passed on, since two requests of one id would be one to the engine.
    """

    client: str
    method: str
    path: str
    id: str = field(default_factory=lambda: secrets.token_hex(16))
    began: float = field(default_factory=time.monotonic)
    deployment: str = ""
    engine: EngineName | None = None
    stream: bool = False
    attempts: int = 0
    continued: int = 0
    """How often another engine went on in the middle of the answer."""
    status: int = 0
    outcome: Outcome = Outcome.ANSWERED
    request_size: int = 0
    response_size: int = 0
    held: float = 0.0
    first_byte: float | None = None
    seconds: float = 0.0

    def sent(self, size: int) -> None:
        """So many bytes of the answer are on their way to the client."""
        if self.first_byte is None:
            self.first_byte = time.monotonic() - self.began
        self.response_size += size

    def end(self) -> None:
        """The request is over."""
        self.seconds = time.monotonic() - self.began
