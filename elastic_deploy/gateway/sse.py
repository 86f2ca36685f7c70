"""Server-sent events as far as a proxy must know them: where one ends. Pure; used by `relay`, `telling`, `client`.

Only whole events are passed on, so that whatever happens to the engine the next thing sent can be an event again.
"""

import json

from elastic_deploy.gateway.refusal import Refusal

LONGEST = 1024 * 1024
"""Bytes of an unfinished event that are kept back; a longer one is passed on in parts."""
LONGEST_CHUNK = 32 * LONGEST
"""The same where events must be understood: the first of an answer holds the prompt's tokens, some 7 bytes each."""


CONTENT_TYPE = "text/event-stream; charset=utf-8"
END = b"data: [DONE]\n\n"
"""How OpenAI's streams end."""


class WholeEvents:
    """Cuts a stream of bytes after its last whole event."""

    def __init__(self, longest: int = LONGEST) -> None:
        self._longest = longest
        self._rest = b""

    def feed(self, piece: bytes) -> bytes:
        """All whole events that `piece` completes; the rest is kept for the next."""
        if not self._rest and piece.endswith(b"\n\n"):
            return piece
        data = self._rest + piece
        end = max(_after(data, b"\n\n"), _after(data, b"\r\n\r\n"))
        if len(data) - end > self._longest:
            end = len(data)
        self._rest = data[end:]
        return data[:end]

    def rest(self) -> bytes:
        """What is left when the stream has ended well."""
        rest, self._rest = self._rest, b""
        return rest


def _after(data: bytes, mark: bytes) -> int:
    found = data.rfind(mark)
    return found + len(mark) if found >= 0 else 0


def error_event(refusal: Refusal) -> bytes:
    """An event that OpenAI's clients raise as an error."""
    return b"data: " + refusal.body() + b"\n\n"


def data_event(document: object) -> bytes:
    """An event that carries JSON, spelled as vLLM spells it."""
    return b"data: " + json.dumps(document, ensure_ascii=False, separators=(",", ":")).encode() + b"\n\n"


def comment(text: str) -> bytes:
    """A line that every client passes over: it only shows that somebody is there."""
    return b": " + " ".join(text.split()).encode() + b"\n\n"


def is_event_stream(content_type: str) -> bool:
    """Whether a Content-Type says server-sent events."""
    return content_type.partition(";")[0].strip().lower() == "text/event-stream"
