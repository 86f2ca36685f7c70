"""Which paths a client may use: a list of what is allowed, so that what vLLM adds later stays closed.

Read by `door`. vLLM guards only some of its paths with a key, and its administrative ones (pause, update_weights,
load_lora_adapter, collective_rpc ...) share the server with the API: none of them may ever be reached from outside.
"""

import re
from enum import Enum, auto


class Use(Enum):
    """What a request for a path gets."""

    FORWARD = auto()
    MODELS = auto()
    HEALTH = auto()
    READY = auto()
    METRICS = auto()
    ENGINE_METRICS = auto()


FORWARDED = frozenset(
    {
        "/v1/chat/completions",
        "/v1/completions",
        "/v1/embeddings",
        "/v1/responses",
        "/tokenize",
        "/detokenize",
    }
)
"""Sent to an engine by the `model` in their JSON body. Not among them: paths that name no model (a stored response),
and those whose body is a form (audio), until somebody needs them."""

_OWN = {"/v1/models": Use.MODELS, "/health": Use.HEALTH, "/ready": Use.READY, "/metrics": Use.METRICS}
_MODEL = "/v1/models/"
_ENGINE_METRICS = re.compile(r"/metrics/([A-Za-z0-9_-]{1,128})/([A-Za-z0-9_-]{1,128})")


def use_of(path: str) -> Use | None:
    """What `path` is for, compared to the letter, None if it is not for clients."""
    if path in FORWARDED:
        return Use.FORWARD
    if path.startswith(_MODEL) and len(path) > len(_MODEL):
        return Use.MODELS
    if _ENGINE_METRICS.fullmatch(path):
        return Use.ENGINE_METRICS
    return _OWN.get(path)


def model_of(path: str) -> str:
    """The model that a path below `/v1/models/` names, "" for the list itself."""
    return path[len(_MODEL) :]


def replica_of(path: str) -> tuple[str, str]:
    """The deployment and the replica whose engine's metrics a path names."""
    match = _ENGINE_METRICS.fullmatch(path)
    return (match[1], match[2]) if match else ("", "")


def methods_of(use: Use) -> tuple[str, ...]:
    """The HTTP methods that such a path takes."""
    return ("POST",) if use is Use.FORWARD else ("GET", "HEAD")
