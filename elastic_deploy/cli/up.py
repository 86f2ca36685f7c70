"""`elastic-deploy up`: launch or reuse, ask for the GPUs, wait, and return when a real generation has succeeded.

Everything that can be known to be wrong is found out before anything is started. From then on it keeps account of
what it began, so that however it ends, it can say what stands.
"""

import time
from contextlib import nullcontext, suppress
from dataclasses import dataclass, replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

import click

from elastic_deploy.cli.before_launch import require_launchable
from elastic_deploy.cli.certificate_words import expiry_warning, name_warning
from elastic_deploy.cli.follow import SERVING, Before, DeploymentFailedError, find_deployment, follow
from elastic_deploy.cli.interruption import Terminated
from elastic_deploy.cli.key_files import keep_key, with_key_file
from elastic_deploy.cli.limits import LimitsChange, limits_change
from elastic_deploy.cli.options import EngineCommand, cluster_argument, deployment_options, flags_of
from elastic_deploy.cli.port import front_door_port, require_free_port
from elastic_deploy.cli.prepare import Prepared, prepare
from elastic_deploy.cli.prices import price_lines
from elastic_deploy.cli.ready import ready_lines
from elastic_deploy.cli.terminal import ask, is_plain, note, print_json, say
from elastic_deploy.cli.undertaking import Undertaking
from elastic_deploy.cli.watch import JsonWatch, PlainWatch, live_watch
from elastic_deploy.cluster.config import ClusterConfig
from elastic_deploy.cluster.head import AgentMissingError, Head, find_head
from elastic_deploy.cluster.launch import bring_package, launch
from elastic_deploy.cluster.ray_token import lacks_token, token_path
from elastic_deploy.cluster.turn import turn
from elastic_deploy.cluster.wish import wish
from elastic_deploy.model.errors import ExitCode, RefusedError, UserError
from elastic_deploy.model.phase import Phase
from elastic_deploy.model.shape import Bundle, Shape
from elastic_deploy.model.spec import GPU_BUNDLE

ENSURE_LIMIT_S = 120.0
"""The agent imports Ray and waits a minute for the supervisor's first answer; on a busy head that takes longer."""

_APPLY_LIMIT_S = 60.0


@dataclass(frozen=True, slots=True)
class Manner:
    """How `up` goes about it."""

    detach: bool
    yes: bool
    json: bool


@click.command("up", cls=EngineCommand)
@cluster_argument
@deployment_options
@click.pass_context
def command(ctx: click.Context, /, cluster: Path, detach: bool, yes: bool, output: str, **_flags: Any) -> int:
    """Launch or reuse the cluster, wait for its GPUs, start vLLM; return when a real generation has succeeded.

    Again with the same arguments, it changes nothing. With others, it shows the difference and applies it.
    """
    manner = Manner(detach, yes, output == "json")
    try:
        prepared = prepare(cluster, flags_of(ctx))
        if warning := expiry_warning(prepared.certificate, time.time()):
            note(warning)
        code, deployment = _up(prepared, Undertaking(cluster, prepared.config, prepared.request.name), manner)
    except UserError as error:
        _result(manner, None, error.code)
        raise
    _result(manner, deployment, code)
    return code


def _result(manner: Manner, deployment: dict[str, Any] | None, code: ExitCode) -> None:
    if manner.json:
        print_json({"kind": "result", "status": deployment, "exit_code": int(code)}, lines=True)


def _up(prepared: Prepared, begun: Undertaking, manner: Manner) -> tuple[ExitCode, dict[str, Any] | None]:
    """Bring the deployment up, and see to what is left where that fails."""
    name, cluster = prepared.request.name, prepared.config.name
    try:
        deployment = _bring_up(prepared, begun, manner)
    except DeploymentFailedError as failed:
        note(f"Error: {failed.error.message}")
        if failed.restored:
            note(f"What {name} was before this change serves on. To look: elastic-deploy status {begun.path}")
            return failed.error.code, with_key_file(cluster, failed.deployment)
        gave_up = failed.error.code is ExitCode.WAIT_TIMEOUT
        if gave_up:
            begun.leave(remove=manner.yes)
        else:
            note(f"Its log: elastic-deploy logs {begun.path} --deployment {name}")
            note(f"The cluster stays. To remove it: {begun.how_to_remove()}")
        return failed.error.code, with_key_file(cluster, failed.deployment)
    except KeyboardInterrupt as interrupt:
        note("Interrupted.")
        with suppress(KeyboardInterrupt, click.Abort):  # a second Ctrl-C is an answer too: keep it
            begun.leave(remove=False, asking=not isinstance(interrupt, Terminated))
        return ExitCode.INTERRUPTED, None
    except UserError:
        if begun.launched:
            for sentence in begun.describe():
                note(sentence)
            if begun.launched:  # describing may have found that nothing stands
                note(f"To remove it: {begun.how_to_remove()}")
        raise
    if deployment is None:
        note("Nothing was changed.")
        return ExitCode.INTERRUPTED, None
    if not manner.json and deployment["phase"] in SERVING:
        click.echo("\n".join(ready_lines(cluster, deployment)))
        if warning := name_warning(prepared.certificate, deployment["endpoint"]):
            note(warning)
    return ExitCode.DONE, deployment


def _bring_up(prepared: Prepared, begun: Undertaking, manner: Manner) -> dict[str, Any] | None:
    """The deployment's status once it serves (or is handed over); None where the user does not want the change."""
    config, request = prepared.config, prepared.request
    prepared = _with_prices(prepared)
    head = find_head(config)
    if head is None:
        if config.provider_kind == "local":
            require_free_port(request.port)
        require_launchable(prepared)
        head = _launch(begun)
        before = Before()
    else:
        _reuse(head, config)
        document = head.call("status")
        _bring_limits(head, config, limits_change(document, config.capacity), manner)
        prepared = prepared.beside(_taken(document, request.name), _running(document, request.name))
        port = front_door_port(document)
        if config.provider_kind == "local" and port != request.port:
            require_free_port(request.port)
        if not _agreed(head, prepared, manner):
            return None
        before = Before.of(find_deployment(document, request.name))

    if prepared.request.prefer_return and not prepared.surge:
        note(
            "Warning: --prefer-return does nothing here: the cluster has no room for one replica more beside those that"
            " serve. Raise its max_workers."
        )
    answer = _apply(head, prepared, begun)
    if not answer["changed"]:
        before = Before()
        note(f"{request.name} runs with these arguments already: nothing to change.")
    if manner.detach:
        note(f"{request.name} is handed over. To look: elastic-deploy status {begun.path}")
        handed_over = find_deployment(head.call("status"), request.name)
        return with_key_file(head.cluster, handed_over) if handed_over else None
    return with_key_file(head.cluster, _follow(head, request.name, answer["event"], before, manner))


def _with_prices(prepared: Prepared) -> Prepared:
    """With AWS's prices, where AWS has the nodes; what counts is said, once."""
    if prepared.config.provider_kind == "aws":
        from elastic_deploy.cluster.aws.price_list import asked_prices

        prepared = replace(prepared, asked_prices=tuple(sorted(asked_prices(prepared.config).items())))
    for line in price_lines(prepared.prices):
        say(f"Prices: {line}.")
    return prepared


def _launch(begun: Undertaking) -> Head:
    config = begun.config
    with turn(config.name, "launching"):
        # Another `up` may have launched it since; then nothing is to be done but to use it.
        head = find_head(config)
        if head is None:
            begun.launched = True
            say(f"Cluster {config.name} is being launched.")
            launch(config, say)
            head = find_head(config)
    if head is None:
        raise RefusedError(f"Ray launched {config.name}, but no head node of it is found: look at it in the cloud.")
    say("The supervisor is being started on the head.")
    _ensure(head, config.provider_kind)
    return head


def _reuse(head: Head, config: ClusterConfig) -> None:
    try:
        _ensure(head, config.provider_kind)
    except AgentMissingError:
        say(f"The head of {config.name} runs without elastic-deploy, which is brought there now.")
        with turn(config.name, "bringing elastic-deploy to"):
            bring_package(config, say)
        _ensure(head, config.provider_kind, brought=True)


def _bring_limits(head: Head, config: ClusterConfig, change: LimitsChange, manner: Manner) -> None:
    """Have the cluster go by the YAML's limits. Lower ones may cost nodes: then only where somebody says so."""
    if not change.lines:
        return
    note(f"{config.name} runs with other limits than its YAML has now. What changes:")
    for line in change.lines:
        note(f"  {line}")
    if not (manner.yes or ask("Bring them to the cluster?", default=not change.lowers)):
        note("They are left as they are; to bring them there, run it with --yes.")
        return
    if lacks_token(config):
        note(f"They cannot be brought from here: that needs {token_path(config.name)}, from where it was launched.")
        return
    say("The YAML is brought to the cluster; what runs on it is left alone.")
    with turn(config.name, "bringing its limits to"):
        bring_package(config, say)
    _ensure(head, config.provider_kind, brought=True)


def _ensure(head: Head, provider: str, *, brought: bool = False) -> None:
    """Have a supervisor run. `brought`: our package has just come there, and is to come to the nodes from now on."""
    payload = {"cluster": head.cluster, "provider": provider, "version": version("elastic-deploy")}
    head.call("ensure", {**payload, "brought": True} if brought else payload, ENSURE_LIMIT_S)


def _taken(document: dict[str, Any], name: str) -> list[Bundle]:
    """What other deployments have asked for."""
    others = (each for each in document["deployments"] if each["name"] != name)
    return [
        Bundle(GPU_BUNDLE, gpus)
        for each in others
        if (gpus := max(each["gpus"]["requested"], _most(each))) and each["phase"] != Phase.STOPPED
    ]


def _most(deployment: dict[str, Any]) -> int:
    """GPUs that its load may make it ask for, 0 where the load decides nothing."""
    shape, scale = deployment["shape"], deployment.get("scale")
    if not scale or deployment["phase"] == Phase.FAILED:
        return 0
    return int(shape["tensor_parallel"] * shape["pipeline_parallel"] * scale["max"])


def _running(document: dict[str, Any], name: str) -> Shape | None:
    """The shape in which the deployment itself runs, if it does."""
    found = find_deployment(document, name)
    if found is None or found["phase"] in (Phase.STOPPED, Phase.FAILED):
        return None
    shape = found["shape"]
    replicas = (found.get("scale") or {}).get("max", shape["replicas"])
    return Shape(shape["tensor_parallel"], shape["pipeline_parallel"], replicas)


def _agreed(head: Head, prepared: Prepared, manner: Manner) -> bool:
    """Show what would change of a deployment that runs; whether it may. Where nobody can be asked, it may."""
    request = prepared.request
    # Without the private key, which comparing does not need.
    door = replace(prepared.door, pair=None)
    found = head.call("compare", wish(prepared.spec, door))
    changes = list(found["difference"]) if found["exists"] else []
    changes += [f"of every deployment of {head.cluster}: {line}" for line in found.get("front_door", ())]
    if not changes:
        return True
    note(f"{request.name} runs with other arguments. What changes:")
    for line in changes:
        note(f"  {line}")
    return manner.yes or ask("Apply this?", default=True)


def _apply(head: Head, prepared: Prepared, begun: Undertaking) -> dict[str, Any]:
    request = prepared.request
    begun.applied = True
    answer = head.call("apply", wish(prepared.spec, prepared.door), _APPLY_LIMIT_S)
    keep_key(head.cluster, request.name, answer["api_key"])
    return answer


def _follow(head: Head, name: str, after: str | None, before: Before, manner: Manner) -> dict[str, Any]:
    import sys

    if manner.json:
        showing: Any = nullcontext(JsonWatch())
    elif is_plain(sys.stderr):
        showing = nullcontext(PlainWatch())
    else:
        showing = live_watch()
    with showing as watch:
        return follow(head, name, after, before, watch)
