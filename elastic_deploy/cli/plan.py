"""`elastic-deploy plan`: what `up` would do, and why. Touches no cloud and starts nothing."""

from dataclasses import asdict
from pathlib import Path
from typing import Any

import click

from elastic_deploy.cli.options import EngineCommand, cluster_argument, deployment_options, flags_of
from elastic_deploy.cli.prepare import Prepared, prepare
from elastic_deploy.cli.prices import price_lines
from elastic_deploy.cli.render import count
from elastic_deploy.cli.terminal import print_json
from elastic_deploy.model.duration import format_duration
from elastic_deploy.model.scaling import Scaling
from elastic_deploy.model.shape import Shape, bundle_document


@click.command("plan", cls=EngineCommand)
@cluster_argument
@deployment_options
@click.pass_context
def command(ctx: click.Context, /, cluster: Path, output: str, **_flags: Any) -> None:
    """Say which shape, which nodes and why, with the options of `up`; touch no cloud and start nothing."""
    prepared = prepare(cluster, flags_of(ctx))
    if output == "json":
        print_json(plan_document(prepared))
    else:
        click.echo("\n".join(plan_lines(prepared)))


def plan_document(prepared: Prepared) -> dict[str, Any]:
    """The plan as data."""
    return {
        "cluster": prepared.config.name,
        "deployment": prepared.request.name,
        "model": prepared.request.served_model_name,
        "gpus": prepared.plan.shape.gpus,
        **asdict(prepared.plan),
        "prices": [asdict(each) for each in prepared.prices],
        "bundles": [bundle_document(bundle) for bundle in prepared.plan.bundles],
    }


def _scaling(scaling: Scaling, shape: Shape) -> str:
    return (
        f"{max(1, scaling.least)} to {shape.replicas} replicas of {count(shape.gpus_per_replica, 'GPU')}, each for"
        f" {count(scaling.requests_per_replica, 'request')}; more after {format_duration(scaling.grow_after)},"
        f" fewer after {format_duration(scaling.shrink_after)}"
    )


def plan_lines(prepared: Prepared) -> list[str]:
    """The plan for a person."""
    plan, request = prepared.plan, prepared.request
    shape = plan.shape
    lines = [
        f"cluster     {prepared.config.name} ({prepared.config.provider_kind})",
        f"deployment  {request.name}: {request.served_model_name} on {count(shape.gpus, 'GPU')}",
        f"shape       tensor parallel {shape.tensor_parallel} x pipeline parallel {shape.pipeline_parallel}"
        f" x {count(shape.replicas, 'replica')}",
    ]
    if request.scaling:
        lines.append(f"scaling     {_scaling(request.scaling, shape)}")
    if request.idle_timeout is not None:
        lines.append(
            f"idle        its GPUs are released after {format_duration(request.idle_timeout)} without a request"
        )
    for bundle in plan.bundles:
        resources = ", ".join(f"{name}: {amount:g}" for name, amount in bundle.resources.items())
        where = "".join(f" with {key}: {value}" for key, value in bundle.labels.items())
        lines.append(f"request     {count(bundle.count, 'bundle')} of {{{resources}}}{where}")
    lines += [f"nodes       {each.count} of type {each.node_type}: {each.why}" for each in plan.nodes]
    lines += [f"prices      {each}" for each in price_lines(prepared.prices)]
    return lines + [f"why         {sentence}" for sentence in plan.why]
