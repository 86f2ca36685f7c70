"""The arguments and options that commands share, and what `up` and `plan` make of them.

Used by the command modules. Knows how things are written on a command line; what they mean, and which values are
allowed, is said in `planning`.
"""

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click

from elastic_deploy.model.duration import parse_duration
from elastic_deploy.model.front_door import FrontDoorBounds
from elastic_deploy.model.rung import ListedRung, parse_rung
from elastic_deploy.model.scaling import ReplicaRange, parse_replicas
from elastic_deploy.planning.settings import Settings

Function = TypeVar("Function", bound=Callable[..., Any])

_ENGINE_ARGUMENTS = "elastic_deploy.engine_arguments"


class Duration(click.ParamType[float]):
    """A duration in seconds; infinity for `none`, and 0 only where `zero_allowed`."""

    name = "duration"

    def __init__(self, *, zero_allowed: bool = False) -> None:
        self._zero_allowed = zero_allowed

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        """Seconds, or click's usage error with the words of `model.duration`."""
        if self._zero_allowed and str(value) == "0":
            return 0.0
        try:
            seconds = parse_duration(str(value), none_allowed=True)
        except ValueError as error:
            self.fail(f"{error}.", param, ctx)
        return math.inf if seconds is None else seconds


class Replicas(click.ParamType["int | ReplicaRange"]):
    """A number of replicas, or a range of it."""

    name = "replicas"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int | ReplicaRange:
        """The number or the range, or click's usage error with the words of `model.scaling`."""
        try:
            return parse_replicas(str(value))
        except ValueError as error:
            self.fail(f"{error}.", param, ctx)


class Price(click.ParamType["tuple[str, float]"]):
    """A node type and its price, as TYPE=USD."""

    name = "price"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[str, float]:
        """Both, or click's usage error."""
        node_type, _, written = str(value).rpartition("=")
        try:
            price = float(written)
        except ValueError:
            price = math.nan
        if not node_type or not 0 <= price < math.inf:
            self.fail(f"{value!r} is no price: write TYPE=USD, with US dollars an hour, such as gpu=1.5.", param, ctx)
        return node_type, price


class RungOption(click.ParamType[ListedRung]):
    """A rung of the ladder, as GPUS: ARGUMENTS."""

    name = "rung"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> ListedRung:
        """The rung, or click's usage error with the words of `model.rung`."""
        try:
            return parse_rung(str(value))
        except ValueError as error:
            self.fail(f"{error}.", param, ctx)


class EngineCommand(click.Command):
    """A command that takes vLLM's own arguments after a bare `--` and does not look at them."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Cut the arguments at the first `--`: what stands behind it is vLLM's."""
        if "--" in args:
            place = args.index("--")
            ctx.meta[_ENGINE_ARGUMENTS] = tuple(args[place + 1 :])
            args = args[:place]
        return super().parse_args(ctx, args)

    def collect_usage_pieces(self, ctx: click.Context) -> list[str]:
        """The usage line with its `--`."""
        return [*super().collect_usage_pieces(ctx), "[-- VLLM ARGUMENTS]"]


cluster_argument = click.argument("cluster", type=click.Path(path_type=Path), metavar="CLUSTER")

output_option = click.option(
    "-o", "--output", type=click.Choice(["text", "json"]), default="text", show_default=True, help="What is printed."
)

_DEPLOYMENT_OPTIONS = (
    click.option("--model", metavar="M", help="A hub id, a checkpoint's directory, or `tiny`, the shipped model."),
    click.option(
        "--gpus",
        type=int,
        metavar="N",
        help="GPUs of the whole deployment; of all MAX replicas where they are a range.",
    ),
    click.option("--name", metavar="NAME", help="The deployment's name.  [default: from the model]"),
    click.option("--tensor-parallel-size", type=int, metavar="N", help="GPUs that share each layer; insisted on."),
    click.option("--pipeline-parallel-size", type=int, metavar="N", help="Stages that the layers are cut into."),
    click.option(
        "--replicas",
        type=Replicas(),
        metavar="N|MIN:MAX",
        help="Engines side by side. With MIN:MAX as many as the requests that run and wait need; MIN may be 0.",
    ),
    click.option(
        "--idle-timeout",
        type=Duration(),
        metavar="TIME",
        help="Release the GPUs after so long without a request; the next one is held, and has them asked for again."
        "  [default: none; 10m with --replicas 0:MAX]",
    ),
    click.option(
        "--lease",
        type=Duration(),
        metavar="TIME",
        help="Should the supervisor on the head be gone for so long, all GPUs are released.  [default: 10m]",
    ),
    click.option(
        "--min-gpus",
        type=int,
        metavar="N",
        help="Serve in a smaller shape, on this many GPUs or more, while all of them cannot be had; the rest is asked"
        " for further.  [default: all]",
    ),
    click.option(
        "--rung",
        "rungs",
        type=RungOption(),
        multiple=True,
        metavar="'GPUS: ARGUMENTS'",
        help="Serve on so many GPUs of a replica's with these arguments of vLLM's beside, while all of them cannot be"
        " had: '2: --max-model-len 8192'. That they hold the model so is your word. May be repeated; without"
        " --min-gpus, only these are allowed.",
    ),
    click.option(
        "--degrade-after",
        type=Duration(),
        metavar="TIME",
        help="How long all GPUs are waited for before that.  [default: 10m]",
    ),
    click.option(
        "--wait-timeout",
        type=Duration(),
        metavar="TIME",
        help="How long to wait for the GPUs: 90, 90s, 30m, 2h or none.  [default: 30m]",
    ),
    click.option(
        "--pools",
        metavar="A,B,...",
        help="Where a replica may live, the best first: values of the label `pool` of the YAML's node types. One that"
        " refuses, or gives nothing or only a part, is left for the next.  [default: anywhere]",
    ),
    click.option(
        "--pool-timeout",
        type=Duration(),
        metavar="TIME",
        help="How long to wait in a pool from which nothing comes before another is tried.  [default: 10m]",
    ),
    click.option(
        "--partial-timeout",
        type=Duration(),
        metavar="TIME",
        help="Release a replica's nodes when the others have not come for so long, and try again later, or in the next"
        " pool.  [default: 15m with several pools, else none]",
    ),
    click.option(
        "--partial-budget",
        type=float,
        metavar="USD",
        help="The same when they have cost so much, by --price, `prices` in the YAML, AWS's prices, or a built-in"
        " table of EC2's.",
    ),
    click.option(
        "--price",
        "prices",
        type=Price(),
        multiple=True,
        metavar="TYPE=USD",
        help="What a node of this type of the YAML costs an hour; may be repeated.",
    ),
    click.option(
        "--prefer-return/--no-prefer-return",
        default=None,
        help="Bring replicas that serve back to a better pool when that can be asked again: new before old, one at a"
        " time, at most every 15 minutes (`return_after` in the YAML).  [default: no]",
    ),
    click.option(
        "--step-timeout",
        type=Duration(),
        metavar="TIME",
        help="Give a node up that hangs for so long in one step: boot, SSH, files, set-up, placing. One that has joined"
        " is replaced; one that has not makes its replica try the next pool.  [default: 15m]",
    ),
    click.option(
        "--port",
        type=int,
        metavar="PORT",
        help="Where clients find the cluster's deployments. This and the three below hold for all of them, and what"
        " an `up` does not say goes back to its default.  [default: 8000]",
    ),
    click.option(
        "--tls-cert",
        metavar="FILE",
        help="Speak HTTPS with this certificate, in PEM, its chain behind it. Run `up` again with a renewed one: it"
        " is taken up without a restart.  [default: plain HTTP]",
    ),
    click.option("--tls-key", metavar="FILE", help="The certificate's private key, in PEM, without a passphrase."),
    click.option(
        "--hold-timeout",
        type=Duration(zero_allowed=True),
        metavar="TIME",
        help="How long a request waits while no engine can serve it; 0 refuses it at once.  [default: 10m]",
    ),
    click.option("--detach", is_flag=True, help="Return as soon as the cluster has taken the deployment up."),
    click.option("-y", "--yes", is_flag=True, help="Ask nothing."),
)


def deployment_options(function: Function) -> Function:
    """Give a command the options of `up` and `plan`."""
    for option in reversed(_DEPLOYMENT_OPTIONS):
        function = option(function)
    return output_option(function)


def flags_of(ctx: click.Context) -> Settings:
    """What the command line says of the deployment; None where it says nothing."""
    said = {
        name: ctx.params[name]
        for name in (
            "name",
            "model",
            "gpus",
            "tensor_parallel_size",
            "pipeline_parallel_size",
            "replicas",
            "min_gpus",
            "degrade_after",
            "wait_timeout",
            "idle_timeout",
            "lease",
            "port",
            "tls_cert",
            "tls_key",
            "pool_timeout",
            "partial_timeout",
            "partial_budget",
            "prefer_return",
            "step_timeout",
        )
    }
    pools = ctx.params["pools"]
    if pools is not None:
        said["pools"] = tuple(each.strip() for each in pools.split(","))
    if ctx.params["rungs"]:
        said["rungs"] = ctx.params["rungs"]
    if ctx.params["prices"]:
        said["prices"] = tuple(sorted(dict(ctx.params["prices"]).items()))
    hold_timeout = ctx.params["hold_timeout"]
    bounds = None if hold_timeout is None else FrontDoorBounds(hold_timeout=hold_timeout)
    return Settings(**said, gateway=bounds, engine_arguments=ctx.meta.get(_ENGINE_ARGUMENTS))
