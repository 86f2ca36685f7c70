"""What `up` checks before it launches anything on a cloud: the cheap ones of `doctor`'s checks."""

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

    checks = on_aws(prepared.config, prepared.plan, cheap=True)
    for check in checks:
        if check.verdict is Verdict.WARNING:
            note(f"Warning: {check.sentence} {check.mend}".strip())
    if failed := [check for check in checks if check.verdict is Verdict.FAILURE]:
        error = NeverFitsError if exit_code(checks) is ExitCode.NEVER_FITS else RefusedError
        raise error(f"{prepared.config.name} is not launched. {in_words(failed)}")


def in_words(failed: list[Check]) -> str:
    """The failed checks, each with its mend, and where to see all."""
    said = " ".join(f"{check.sentence} {check.mend}".strip() for check in failed)
    return f"{said} `elastic-deploy doctor` shows all checks."
