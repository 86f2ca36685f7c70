"""The request with which another engine goes on where one broke. Pure; used by `telling`.

The prompt and the answer's tokens so far are one prompt of token ids for /v1/completions, whatever was asked first:
as text they would be tokenized anew, and a chat template would open another turn.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from elastic_deploy.gateway.coverage import CARRIED, CHAT, COMPLETIONS, stop_strings

PATH = COMPLETIONS
"""Where it goes."""
CONTEXT = 16
"""Tokens of the prompt that are decoded along with an answer: the first token of a text can lose its space."""
UNDECODED = "\ufffd"
"""What a decoder puts in place of a character of which not all bytes are there."""
DEFAULT_MAX_TOKENS = 16
"""Of /v1/completions, where a request does not say (vLLM 0.32, `CompletionRequest.max_tokens`)."""


def completion(
    path: str, asked: Mapping[str, Any], prompt: Sequence[int], tokens: Sequence[int], longest: int
) -> dict[str, Any]:
    """The body that continues `asked` after `tokens`. `longest` is the model's context in tokens."""
    most = max_tokens(path, asked)
    body = {name: asked[name] for name in CARRIED if asked.get(name) is not None}
    body |= {
        "prompt": [*prompt, *tokens],
        "max_tokens": longest if most is None else most - len(tokens),
        "min_tokens": max(0, least_tokens(asked) - len(tokens)),
        "stream": True,
        "return_token_ids": True,
    }
    if stop_strings(asked):
        body["include_stop_str_in_output"] = True
    return body


def max_tokens(path: str, asked: Mapping[str, Any]) -> int | None:
    """How many tokens the whole answer may have, None if as many as the model's context holds."""
    names = ("max_completion_tokens", "max_tokens") if path == CHAT else ("max_tokens",)
    for name in names:
        if (most := asked.get(name)) is not None:
            return int(most)
    return None if path == CHAT else DEFAULT_MAX_TOKENS


def least_tokens(asked: Mapping[str, Any]) -> int:
    """How many tokens the whole answer must have before anything may stop it."""
    return int(asked.get("min_tokens") or 0)
