"""`elastic-deploy keys`: which keys open a deployment's front door, and how they are changed. None is ever printed.

The head holds the list and decides; here its answers become files that only this user can read, and words.
"""

import sys
from pathlib import Path
from typing import Any

import click

from elastic_deploy.cli.key_files import keep_key, kept_id, key_path
from elastic_deploy.cli.options import cluster_argument, output_option
from elastic_deploy.cli.page import Facts, Heading, Page, Table, print_page
from elastic_deploy.cli.terminal import note, print_json
from elastic_deploy.cluster.config import load_cluster
from elastic_deploy.cluster.head import Head, find_head
from elastic_deploy.model.client_keys import LONGEST, require_key
from elastic_deploy.model.errors import RefusedError, UsageError, UserError

ACTIONS = ("list", "add", "rotate", "revoke")


@click.command("keys")
@cluster_argument
@click.argument("action", type=click.Choice(ACTIONS), metavar="list|add|rotate|revoke")
@click.argument("key_id", required=False, metavar="[ID]")
@click.option("--deployment", metavar="NAME", help="Of this deployment; needed where the cluster has several.")
@click.option("--stdin", "from_stdin", is_flag=True, help="add: take the key from stdin: 16 characters or more.")
@click.option("--revoke-old", is_flag=True, help="rotate: end all other keys at once.")
@output_option
def command(
    cluster: Path,
    action: str,
    key_id: str | None,
    deployment: str | None,
    from_stdin: bool,
    revoke_old: bool,
    output: str,
) -> None:
    """List, add, rotate or revoke the keys that clients show to the front door.

    \b
    list    the keys' ids, which one `up` hands out, which ones this machine keeps
    add     make another key, in a file that only you can read, and print its path
    rotate  make a new key, put it where `status` says, have `up` hand it out;
            the old ones hold until they are revoked
    revoke  end the key of that ID; never the last one

    A change holds within a second, without a restart. Requests that are being answered go on.
    """
    _require_sense(action, key_id, from_stdin=from_stdin, revoke_old=revoke_old)
    request: dict[str, Any] = {"action": action, "deployment": deployment}
    if action == "add" and from_stdin:
        request["key"] = require_key(_from_stdin())
    config = load_cluster(cluster)
    head = find_head(config)
    if head is None:
        raise RefusedError(f"Cluster {config.name} does not run, and has no keys: `elastic-deploy up` starts it.")
    match action:
        case "list":
            document = _list(head, request)
        case "add":
            document = _add(head, request)
        case "rotate":
            document = _rotate(head, request | {"revoke_old": revoke_old})
        case _:
            document = _revoke(head, request | {"id": key_id})
    if output == "json":
        print_json(document)
    elif action == "list":
        print_page(_page(document))
    elif document.get("file"):
        click.echo(document["file"])


def _require_sense(action: str, key_id: str | None, *, from_stdin: bool, revoke_old: bool) -> None:
    if action == "revoke" and not key_id:
        raise UsageError("Say which key to revoke: `keys CLUSTER revoke ID`; `list` shows the ids.")
    if action != "revoke" and key_id:
        raise UsageError(f"Only `revoke` takes an ID, and {action} was told {key_id}.")
    if from_stdin and action != "add":
        raise UsageError(f"--stdin is for `add`, not for {action}.")
    if revoke_old and action != "rotate":
        raise UsageError(f"--revoke-old is for `rotate`, not for {action}.")


def _from_stdin() -> str:
    if sys.stdin.isatty():
        return str(click.prompt("Key", hide_input=True, err=True)).strip()
    return sys.stdin.read(LONGEST + 2).strip()


def _list(head: Head, request: dict[str, Any]) -> dict[str, Any]:
    answer = head.call("keys", request)
    return {"deployments": [_listed(head.cluster, each["name"], each["ids"]) for each in answer["deployments"]]}


def _listed(cluster: str, name: str, ids: list[str]) -> dict[str, Any]:
    ours = kept_id(cluster, name)
    keys = []
    for place, each in enumerate(ids):
        path = key_path(cluster, name) if each == ours else key_path(cluster, name, each)
        file = str(path) if each == ours or kept_id(cluster, name, each) == each else ""
        keys.append({"id": each, "handed_out": place == 0, "file": file})
    stale = str(key_path(cluster, name)) if ours and ours not in ids else ""
    return {"name": name, "keys": keys, "stale_file": stale}


def _add(head: Head, request: dict[str, Any]) -> dict[str, Any]:
    answer = head.call("keys", request)
    name, made = answer["deployment"], answer["id"]
    if "key" not in answer:
        note(f"Key {made} opens {name} as well.")
        return {"deployment": name, "id": made, "file": ""}
    try:
        path = keep_key(head.cluster, name, answer["key"], added=made)
    except OSError as error:
        _take_back(head, name, made)
        raise RefusedError(f"Key {made} could not be written down ({error}), and was revoked again.") from error
    note(f"Key {made} opens {name} as well. It is in this file, which only you can read:")
    return {"deployment": name, "id": made, "file": str(path)}


def _take_back(head: Head, name: str, made: str) -> None:
    try:
        head.call("keys", {"action": "revoke", "deployment": name, "id": made})
    except UserError as error:
        raise RefusedError(
            f"Key {made} could be neither written down nor revoked again ({error.message}): revoke it."
        ) from error


def _rotate(head: Head, request: dict[str, Any]) -> dict[str, Any]:
    answer = head.call("keys", request)
    name, made = answer["deployment"], answer["id"]
    try:
        path = keep_key(head.cluster, name, answer["key"])
    except OSError as error:
        raise RefusedError(
            f"Key {made} holds, and could not be written down ({error}): `elastic-deploy up` hands it out again."
        ) from error
    for each in answer["revoked"]:
        key_path(head.cluster, name, each).unlink(missing_ok=True)
    old = f"Still valid until `revoke`: {', '.join(answer['valid'])}." if answer["valid"] else "All others are revoked."
    note(f"{name} has the new key {made}, and `up` hands it out from now on. {old} It is in this file:")
    return {
        "deployment": name,
        "id": made,
        "file": str(path),
        "valid": [made, *answer["valid"]],
        "revoked": answer["revoked"],
    }


def _revoke(head: Head, request: dict[str, Any]) -> dict[str, Any]:
    answer = head.call("keys", request)
    name, gone = answer["deployment"], answer["id"]
    key_path(head.cluster, name, gone).unlink(missing_ok=True)
    note(f"Key {gone} does not open {name} any more. Still valid: {', '.join(answer['valid'])}.")
    if kept_id(head.cluster, name) == gone:
        path = keep_key(head.cluster, name, answer["key"])
        note(f"It was the one that this machine uses: {path} has key {answer['valid'][0]} now.")
    return {"deployment": name, "id": gone, "valid": answer["valid"]}


def _page(document: dict[str, Any]) -> Page:
    page: list[Heading | Facts | Table] = []
    for each in document["deployments"]:
        rows = tuple((key["id"], "yes" if key["handed_out"] else "", key["file"]) for key in each["keys"])
        page += [Heading(f"Deployment {each['name']}"), Table(("KEY", "HANDED OUT", "FILE ON THIS MACHINE"), rows)]
        if each["stale_file"]:
            page.append(Facts((("not valid", f"{each['stale_file']}: `up` writes the key that is"),)))
    return page or [Heading("There are no deployments.")]
