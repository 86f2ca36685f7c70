"""The clients' keys on the head: `keys/<deployment>`, one a line, which the gateway reads again when it changes.

Called by the supervisor for the agent's verb `keys`. A key leaves the head only in the answer that makes it, or that
says which one is handed out from now on; the journal is told ids.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from elastic_deploy.model.client_keys import key_id, keys_in, new_key, require_key, with_key, without_key
from elastic_deploy.model.errors import UsageError
from elastic_deploy.model.event import EventDraft
from elastic_deploy.model.home import write_private

Answer = dict[str, Any]


def answer(directory: Path, deployments: Sequence[str], request: dict[str, Any]) -> tuple[Answer, list[EventDraft]]:
    """Carry out one request, and say what to journal.

    `request` has an `action` and, where there are several, a `deployment`; `add` may have a `key`, `rotate` has
    `revoke_old`, `revoke` an `id`. Raises UserError where it cannot be; then nothing was changed.
    """
    action, name = str(request.get("action")), request.get("deployment")
    if action == "list":
        chosen = deployments if name is None else [_chosen(deployments, name)]
        return {"deployments": [{"name": each, "ids": _ids(_read(directory / each))} for each in chosen]}, []
    deployment = _chosen(deployments, name)
    path = directory / deployment
    keys = _read(path)
    match action:
        case "add":
            given = request.get("key")
            key = new_key() if given is None else require_key(str(given))
            write_private(path, _text(with_key(keys, key, first=False)))
            told = [_event("added", deployment, f"key {key_id(key)} was added")]
            made = {} if given is not None else {"key": key}
            return {"deployment": deployment, "id": key_id(key), **made}, told
        case "rotate":
            key = new_key()
            kept = () if request.get("revoke_old") else keys
            write_private(path, _text(with_key(kept, key, first=True)))
            revoked = [] if kept else _ids(keys)
            what = f"key {key_id(key)} is handed out from now on"
            what += f"; revoked: {', '.join(revoked)}" if revoked else ""
            return (
                {"deployment": deployment, "id": key_id(key), "key": key, "valid": _ids(kept), "revoked": revoked},
                [_event("rotated", deployment, what)],
            )
        case "revoke":
            wanted = str(request.get("id"))
            left = without_key(keys, wanted)
            write_private(path, _text(left))
            told = [_event("revoked", deployment, f"key {wanted} was revoked")]
            return {"deployment": deployment, "id": wanted, "key": left[0], "valid": _ids(left)}, told
    raise UsageError(f"The supervisor knows no {action!r} of keys: it may be older or newer than this command.")


def _chosen(deployments: Sequence[str], name: object) -> str:
    if name is None and len(deployments) == 1:
        return deployments[0]
    if name is None and deployments:
        raise UsageError(f"Say which deployment with --deployment: {', '.join(deployments)}.")
    if name not in deployments:
        what = "no deployment yet" if name is None else f"no deployment {name}: `elastic-deploy status` lists them"
        raise UsageError(f"The cluster has {what}.")
    return str(name)


def _read(path: Path) -> tuple[str, ...]:
    try:
        return keys_in(path.read_text("utf-8", "surrogateescape"))
    except FileNotFoundError:
        return ()


def _ids(keys: Sequence[str]) -> list[str]:
    return [key_id(key) for key in keys]


def _text(keys: Sequence[str]) -> str:
    return "".join(f"{key}\n" for key in keys)


def _event(kind: str, deployment: str, what: str) -> EventDraft:
    return EventDraft(f"keys.{kind}", f"{deployment}: {what}.", deployment, subject=f"deployment:{deployment}")
