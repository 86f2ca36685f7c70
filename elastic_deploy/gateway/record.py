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
    """One request. `held`, `first_byte`, `first_token` and `seconds` are seconds, all but `held` since `began`
    (monotonic). Tokens are those of the answer that the client was told, None where nobody counted them.

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
    first_token: float | None = None
    prompt_tokens: int | None = None
    generated_tokens: int | None = None
    seconds: float = 0.0

    def sent(self, size: int) -> None:
        """So many bytes of the answer are on their way to the client."""
        if self.first_byte is None:
            self.first_byte = time.monotonic() - self.began
        self.response_size += size

    def told_token(self) -> None:
        """The client has been told something that was generated."""
        if self.first_token is None:
            self.first_token = time.monotonic() - self.began

    def counted(self, tokens: tuple[int, int] | None) -> None:
        """The tokens of prompt and answer, None if they are not known."""
        if tokens is not None:
            self.prompt_tokens, self.generated_tokens = tokens

    def end(self) -> None:
        """The request is over."""
        self.seconds = time.monotonic() - self.began
