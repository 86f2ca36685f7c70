"""The gateway's log: one JSON object a line. No prompt, no answer, no key ever comes near it."""

import json
import time
from typing import Any, TextIO

from elastic_deploy.gateway.record import Record


class Log:
    """Writes to `out`; each line is written whole and at once."""

    def __init__(self, out: TextIO) -> None:
        self._out = out

    def event(self, kind: str, **fields: Any) -> None:
        """Something that happened to the gateway itself."""
        self._write({"time": round(time.time(), 3), "event": kind, **fields})

    def access(self, record: Record) -> None:
        """One request, at its end. Times are seconds, sizes bytes; what is not known is left out."""
        line = {
            "time": round(time.time(), 3),
            "event": "request",
            "id": record.id,
            "client": record.client,
            "method": record.method,
            "path": record.path,
            "status": record.status,
            "outcome": record.outcome,
            "deployment": record.deployment,
            "engine": str(record.engine) if record.engine else "",
            "stream": record.stream,
            "attempts": record.attempts,
            "continued": record.continued or None,
            "request_bytes": record.request_size,
            "response_bytes": record.response_size,
            "held_seconds": round(record.held, 4),
            "first_byte_seconds": round(record.first_byte, 4) if record.first_byte is not None else None,
            "first_token_seconds": round(record.first_token, 4) if record.first_token is not None else None,
            "prompt_tokens": record.prompt_tokens,
            "generated_tokens": record.generated_tokens,
            "seconds": round(record.seconds, 4),
        }
        self._write({name: value for name, value in line.items() if value not in ("", None)})

    def _write(self, line: dict[str, Any]) -> None:
        self._out.write(json.dumps(line) + "\n")
        self._out.flush()
