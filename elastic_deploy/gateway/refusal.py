"""Every answer that is an error of the gateway's own, in the form that OpenAI's clients read.

Pure: `RefusalError` carries one from wherever it is met to the door, which sends it. An engine's own errors are passed
on as they are.
"""

import json
import math
from dataclasses import dataclass

from elastic_deploy.model.duration import format_duration

RETRY_AFTER = 5
"""Seconds after which a client may ask again. OpenAI's clients obey up to 60; a recovery takes tens of seconds, and
a client that asks early is held."""
LONGEST_WAIT = 86_400
"""Seconds beyond which nobody would believe a Retry-After."""


@dataclass(frozen=True, slots=True)
class Refusal:
    """One error: HTTP `status`, a sentence, and OpenAI's `type`, `code` and `param`. `headers` are sent along."""

    status: int
    message: str
    type: str
    code: str
    param: str | None = None
    headers: tuple[tuple[str, str], ...] = ()

    def body(self) -> bytes:
        """The JSON document that OpenAI's clients expect of an error."""
        error = {"message": self.message, "type": self.type, "param": self.param, "code": self.code}
        return json.dumps({"error": error}).encode()


class RefusalError(Exception):
    """A request that gets `refusal` for its answer."""

    def __init__(self, refusal: Refusal) -> None:
        super().__init__(refusal.message)
        self.refusal = refusal


def _of_client(
    status: int, code: str, message: str, param: str | None = None, headers: tuple[tuple[str, str], ...] = ()
) -> Refusal:
    return Refusal(status, message, "invalid_request_error", code, param, headers)


def _of_server(status: int, code: str, message: str, *, again: int | None = None) -> Refusal:
    headers = (("Retry-After", str(again)),) if again is not None else ()
    return Refusal(status, message, "server_error", code, headers=headers)


def no_key() -> Refusal:
    """The request has no key, or one that opens nothing."""
    message = "The API key is missing or wrong: send it as `Authorization: Bearer KEY`."
    return _of_client(401, "invalid_api_key", message, headers=(("WWW-Authenticate", "Bearer"),))


def other_key(model: str) -> Refusal:
    """The key is right, but for another deployment."""
    message = f"This API key is not for the model {model!r}: use the key of its deployment."
    return _of_client(401, "invalid_api_key", message, headers=(("WWW-Authenticate", "Bearer"),))


def unknown_path(method: str, path: str) -> Refusal:
    """There is no such path for clients. Both are shown cut to a length that a log can bear."""
    return _of_client(404, "unknown_url", f"There is nothing for clients at {method[:16]} {path[:128]}.")


def wrong_method(method: str, allowed: tuple[str, ...]) -> Refusal:
    """The path exists, with another method."""
    message = f"This path does not take {method[:16]}; it takes {' and '.join(allowed)}."
    return _of_client(405, "method_not_allowed", message, headers=(("Allow", ", ".join(allowed)),))


def unknown_model(model: str) -> Refusal:
    """No deployment serves a model of that name."""
    message = f"The model {model[:128]!r} does not exist here: GET /v1/models lists those that do."
    return _of_client(404, "model_not_found", message, "model")


def unknown_engine(deployment: str, replica: str) -> Refusal:
    """No such replica is behind the door."""
    return _of_client(404, "engine_not_found", f"No engine of replica {replica!r} of {deployment!r} serves now.")


def engine_page_failed(why: str, *, answered: bool) -> Refusal:
    """An engine did not tell its metrics: it answered something else, or nothing."""
    if answered:
        return _of_server(502, "engine_failed", f"The engine did not tell its metrics: {why[:128]}.")
    return _of_server(503, "engine_silent", "The engine did not answer.", again=RETRY_AFTER)


def malformed(message: str, param: str | None = None) -> Refusal:
    """The request cannot be understood."""
    return _of_client(400, "invalid_request", message, param)


def large_headers() -> Refusal:
    """One header, or all of them, are over the bounds."""
    return _of_client(431, "headers_too_large", "The request's headers are too large.")


def large_body(limit: int) -> Refusal:
    """The body is over `limit` bytes."""
    return _of_client(413, "request_too_large", f"The body is larger than the {limit} bytes allowed here.")


def slow_body(limit: float) -> Refusal:
    """The body did not come within `limit` seconds."""
    return _of_client(408, "request_too_slow", f"The body did not arrive within {format_duration(limit)}.")


def seconds_left(expected_at: float | None, now: float) -> int | None:
    """Whole seconds from `now` until a model is expected, None where nobody can tell or the time has passed."""
    left = 0.0 if expected_at is None else expected_at - now
    return math.ceil(left) if 0 < left <= LONGEST_WAIT else None


def expectation(reason: str, left: int | None) -> str:
    """`reason`, a route's own sentence, and when its model is expected, if `left`, the seconds until then, is known."""
    return reason if left is None else f"{reason}, expected in about {format_duration(left)}"


def unavailable(reason: str, left: int | None = None) -> Refusal:
    """The model has no engine now, for `reason`; `left` is the seconds until one is expected."""
    message = f"No engine can take the request now: {expectation(reason, left)}."
    return _of_server(503, "model_unavailable", message, again=left or RETRY_AFTER)


def crowded(reason: str, left: int | None = None) -> Refusal:
    """The model has no engine now, and as many requests wait for one as may."""
    message = f"No engine can take the request now, and too many wait already: {expectation(reason, left)}."
    return _of_server(503, "model_unavailable", message, again=left or RETRY_AFTER)


def closing() -> Refusal:
    """The gateway itself is stopping."""
    return _of_server(503, "gateway_stopping", "The gateway is stopping; it will be started again.", again=RETRY_AFTER)


def engine_broke() -> Refusal:
    """Engines ended while they worked on the request, before any of the answer was sent."""
    return _of_server(502, "engine_broke", "The engine ended before it answered, and no other could take over.")


def engine_breaker(times: int) -> Refusal:
    """So many engines ended while they worked on this very request."""
    return _of_server(502, "engine_broke", f"{times} engines ended on this request; it is not tried again.")


def engine_silent(limit: float) -> Refusal:
    """The engine sent nothing for `limit` seconds."""
    return _of_server(504, "engine_silent", f"The engine sent nothing for {format_duration(limit)}.")


def engine_failed(status: int) -> Refusal:
    """The engine answered with an error that is none in OpenAI's form, to a stream that has begun."""
    return _of_server(502, "engine_failed", f"The engine answered {status}.")


def stream_broke(why_final: str) -> Refusal:
    """The engine ended in the middle of its answer, which `why_final` keeps from going on; a stream's last event."""
    message = f"The engine ended in the middle of this answer, and it cannot be continued: {why_final}."
    return _of_server(502, "engine_broke", message)


def too_many_connections() -> Refusal:
    """As many connections are open as may be."""
    message = "The gateway has as many connections as it may: use one for several requests, or come again."
    return _of_server(503, "too_many_connections", message, again=RETRY_AFTER)


def own_fault() -> Refusal:
    """A bug of the gateway's."""
    return _of_server(500, "internal_error", "The gateway failed; its log says why.")
