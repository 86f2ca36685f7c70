"""Which streamed requests can go on at another engine from their last token: a table, one row a field.

Pure; asked by `ask`. docs/gateway.md has the same table. What is not named here is not covered: a field that a newer
vLLM understands must not be lost on the way without a word. Read in vLLM 0.32, `entrypoints/openai/*/protocol.py`;
fields that only OpenAI knows are ignored there.

To continue means that the prompt and the tokens generated so far become the prompt of a new completion. So a field is
covered if it acts on each token alone, or on prompt and answer alike, or only on how the prompt was made; it is not
if it looks back on the tokens of the answer, or changes what the answer's tokens become in the stream.
"""

from collections.abc import Callable, Mapping
from typing import Any

COMPLETIONS = "/v1/completions"
CHAT = "/v1/chat/completions"
PATHS = frozenset({COMPLETIONS, CHAT})
"""Where streams of tokens come from. /v1/responses also streams, with events that are the engine's own state."""

CARRIED = frozenset(
    {
        *("model", "temperature", "top_p", "top_k", "min_p", "repetition_penalty", "logit_bias", "allowed_token_ids"),
        *("stop", "stop_token_ids", "ignore_eos", "include_stop_str_in_output"),
        *("skip_special_tokens", "spaces_between_special_tokens"),
        *("stream", "stream_options", "stream_interval", "priority", "cache_salt", "session_id", "user", "seed"),
    }
)
"""Sent to the next engine as they are. A repetition penalty counts prompt and answer alike, unlike the other two."""

COUNTED = frozenset({"max_tokens", "max_completion_tokens", "min_tokens"})
"""Sent less the tokens that there are already."""

RENDERED = frozenset(
    {
        *("prompt", "messages", "add_special_tokens", "truncate_prompt_tokens", "truncation_side"),
        *("add_generation_prompt", "continue_final_message", "chat_template", "chat_template_kwargs", "documents"),
        *("reasoning_effort", "return_prompt_text", "tools", "tool_choice"),
    }
)
"""These made the prompt's tokens, which are replayed: not sent again."""

IGNORED = frozenset(
    {
        *("best_of", "metadata", "modalities", "parallel_tool_calls", "prediction", "prompt_cache_key"),
        *("prompt_cache_retention", "safety_identifier", "service_tier", "store", "top_logprobs", "verbosity"),
        *("length_penalty", "return_tokens_as_token_ids", "return_token_offsets", "request_id"),
    }
)
"""Without effect on a streamed answer with one choice and no logprobs."""

_COVERED = CARRIED | COUNTED | RENDERED | IGNORED

Harmless = Callable[[Any], bool]


def _off(value: Any) -> bool:
    return value is False or value == 0 or value in ([], {}, "")


NOT_COVERED: Mapping[str, tuple[Harmless, str]] = {
    "n": (lambda value: value == 1, "several choices are generated at once (n)"),
    "use_beam_search": (_off, "beam search keeps more than the tokens that it has sent"),
    "logprobs": (lambda value: value is False, "a replayed token's logprobs would differ in form and offset"),
    "logprob_token_ids": (_off, "a replayed token's logprobs would differ in form and offset"),
    "prompt_logprobs": (_off, "the prompt's logprobs cannot be told twice"),
    "echo": (_off, "the echoed prompt is part of the answer"),
    "suffix": (_off, "the suffix is part of how the prompt was made"),
    "prompt_embeds": (_off, "an embedded prompt has no tokens to replay"),
    "frequency_penalty": (_off, "it counts the tokens of the answer, which become a prompt"),
    "presence_penalty": (_off, "it counts the tokens of the answer, which become a prompt"),
    "bad_words": (_off, "a forbidden word may begin in the tokens that become a prompt"),
    "repetition_detection": (_off, "it looks back on the tokens of the answer, which become a prompt"),
    "thinking_token_budget": (_off, "it counts the tokens of the answer, which become a prompt"),
    "watermarking": (_off, "the mark depends on the tokens of the answer, which become a prompt"),
    "response_format": (
        lambda value: isinstance(value, dict) and value.get("type") == "text",
        "the grammar of a structured answer would begin anew",
    ),
    "structured_outputs": (_off, "the grammar of a structured answer would begin anew"),
    "include_reasoning": (lambda value: value is True, "hidden reasoning is not in the stream"),
    "return_token_ids": (_off, "tokens that complete no character yet were shown and may be chosen anew"),
    "routed_experts_prompt_start": (_off, "expert routing is told from a position in the answer"),
    "media_io_kwargs": (_off, "images, sound and video are not in the prompt's tokens"),
    "mm_processor_kwargs": (_off, "images, sound and video are not in the prompt's tokens"),
    "kv_transfer_params": (_off, "another engine's cache is part of the request"),
    "ec_transfer_params": (_off, "another engine's cache is part of the request"),
    "vllm_xargs": (_off, "extensions of the engine may keep a state of their own"),
}
"""Field: when it is harmless, and why not otherwise. Null is always harmless."""


def covered(path: str, document: Mapping[str, Any]) -> str | None:
    """None if a stream of `document` can be continued, else why not, as the end of a sentence."""
    for name, value in document.items():
        if value is None or name in _COVERED:
            continue
        rule = NOT_COVERED.get(name)
        if rule is None:
            return f"the gateway does not know the field {name[:64]!r}"
        harmless, why = rule
        if not harmless(value):
            return why
    if not _is_greedy(document) and document.get("seed") is not None:
        return "the seed's random numbers would begin anew"
    if hides_stops(document) and (document.get("stop_token_ids") or document.get("skip_special_tokens") is False):
        return "what a stop string hides and what a stop token hides could not be told apart"
    return _chat(document) if path == CHAT else _completion(document)


def stop_strings(document: Mapping[str, Any]) -> tuple[str, ...]:
    """The strings on which the answer stops."""
    stop = document.get("stop")
    if isinstance(stop, str):
        return (stop,) if stop else ()
    return tuple(each for each in stop if isinstance(each, str) and each) if isinstance(stop, list) else ()


def _is_greedy(document: Mapping[str, Any]) -> bool:
    return document.get("temperature") in (0, 0.0)


def hides_stops(document: Mapping[str, Any]) -> bool:
    """Whether an engine keeps text back that may yet be a stop string."""
    return bool(stop_strings(document)) and document.get("include_stop_str_in_output") is not True


def _chat(document: Mapping[str, Any]) -> str | None:
    if document.get("tools") and document.get("tool_choice") != "none":
        return "a tool call is read from the whole answer"
    messages = document.get("messages")
    for message in messages if isinstance(messages, list) else ():
        content = message.get("content") if isinstance(message, dict) else None
        for part in content if isinstance(content, list) else ():
            if not isinstance(part, str) and not (isinstance(part, dict) and part.get("type") == "text"):
                return "images, sound and video are not in the prompt's tokens"
    return None


def _completion(document: Mapping[str, Any]) -> str | None:
    prompt = document.get("prompt")
    if isinstance(prompt, list) and len(prompt) > 1 and not all(type(each) is int for each in prompt):
        return "several prompts are answered at once"
    return None
