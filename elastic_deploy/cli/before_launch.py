"""What `up` checks before it launches anything on a cloud: the cheap ones of `doctor`'s checks."""

from collections.abc import Iterable

from elastic_deploy.cli.prepare import Prepared
from elastic_deploy.cli.terminal import note
from elastic_deploy.model.check import Check, Verdict, exit_code
from elastic_deploy.model.errors import ExitCode, NeverFitsError, RefusedError


def require_launchable(prepared: Prepared) -> None:
    """Say warnings, and raise for what has failed: nothing has been started yet, and nothing has to be undone.

    Raises NeverFitsError where what is asked can never be had, RefusedError for everything else.
    """
    if prepared.config.provider_type != "aws":
        return
    # Imports boto3, which `up --help` and a local cluster should not pay for.
    from elastic_deploy.cluster.aws.preflight import on_aws
    from elastic_deploy.cluster.aws.preflight.deployment import before_launch

    checks = on_aws(prepared.config, prepared.plan, cheap=True)
    checks += before_launch(prepared.config, prepared.request.model, prepared.plan)
    warnings, failed = sorted_out(checks, has_other_pools=len(prepared.plan.pools) > 1)
    for check in warnings:
        note(f"Warning: {check.sentence} {check.mend}".strip())
    if failed:
        error = NeverFitsError if exit_code(tuple(failed)) is ExitCode.NEVER_FITS else RefusedError
        raise error(f"{prepared.config.name} is not launched. {in_words(failed)}")


def sorted_out(checks: Iterable[Check], *, has_other_pools: bool) -> tuple[list[Check], list[Check]]:
    """The checks to be said as warnings, and those for which nothing is launched.

    The plan asks in the best pools. Where there are others, a quota that does not suffice there is only a reason for
    EC2 to refuse, and for the next pool to be tried.
    """
    warnings, failed = [], []
    for check in checks:
        if check.verdict is Verdict.WARNING or (
            check.verdict is Verdict.FAILURE and has_other_pools and check.name == "quota"
        ):
            warnings.append(check)
        elif check.verdict is Verdict.FAILURE:
            failed.append(check)
    return warnings, failed


def in_words(failed: list[Check]) -> str:
    """The failed checks, each with its mend, and where to see all."""
    said = " ".join(f"{check.sentence} {check.mend}".strip() for check in failed)
    return f"{said} `elastic-deploy doctor` shows all checks."
