"""What a request asks for, as far as the gateway must know it: the model, and whether the answer is a stream.

Pure. The body itself goes to the engine as it came; whether it makes sense otherwise is the engine's to say.
"""

import json
from dataclasses import dataclass

from elastic_deploy.gateway.refusal import RefusalError, malformed


@dataclass(frozen=True, slots=True)
class Ask:
    """One request for an engine. `content_type` is the client's own."""

    path: str
    model: str
    stream: bool
    body: bytes
    content_type: str = "application/json"


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
    return Ask(path, model, asked.get("stream") is True, body, content_type)
