"""What a request asks for, as far as the gateway must know it: the model, and whether the answer is a stream.

Pure. The body goes to the engine as it came, but that a stream which could be continued is asked for with its token
ids; whether it makes sense otherwise is the engine's to say.
"""

import json
from dataclasses import dataclass

from elastic_deploy.gateway import coverage, prefix
from elastic_deploy.gateway.refusal import RefusalError, malformed

GENERATING = coverage.PATHS | {"/v1/responses"}
"""Paths whose answers are generated, so that a prompt's beginning may be in an engine's cache."""


@dataclass(frozen=True, slots=True)
class Ask:
    """One request for an engine. `content_type` is the client's own.

    `uncovered` says why a stream could not be continued at another engine, None if it could. A `told` one comes in the
    chunks of /v1/completions or /v1/chat/completions. `prefix` tells prompts that begin equally.
    """

    path: str
    model: str
    stream: bool
    body: bytes
    content_type: str = "application/json"
    uncovered: str | None = "it is no stream of tokens"
    prefix: tuple[int, ...] = ()

    @property
    def told(self) -> bool:
        """Whether `telling` understands the answer."""
        return self.stream and self.path in coverage.PATHS


def parse_ask(path: str, body: bytes, content_type: str = "application/json") -> Ask:
    """The ask in `body`. Raises RefusalError (400) where it is not a JSON object that names a model."""
    try:
        asked = json.loads(body)
    except (ValueError, RecursionError):
        raise RefusalError(malformed("The body is not valid JSON.")) from None
    if not isinstance(asked, dict):
        raise RefusalError(malformed("The body must be a JSON object."))
    model = asked.get("model")
    if not isinstance(model, str) or not model:
        raise RefusalError(malformed("The body must name a model: GET /v1/models lists them.", "model"))
    begins = prefix.blocks(model, asked) if path in GENERATING else ()
    stream = asked.get("stream") is True
    if not stream or path not in coverage.PATHS:
        return Ask(path, model, stream, body, content_type, prefix=begins)
    uncovered = coverage.covered(path, asked)
    if uncovered is None:
        try:
            body = json.dumps(asked | {"return_token_ids": True}).encode()
        except RecursionError:
            uncovered = "it is nested too deeply"
    return Ask(path, model, True, body, content_type, uncovered, begins)
