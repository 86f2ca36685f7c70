"""What `doctor` finds out, one check at a time: passed, a warning, or a failure with its mend.

Made by `cluster.aws.preflight` before anything is launched and by `runtime.node_checks` on a cluster that runs; shown
by `cli.doctor`, and by `up`, which makes the cheap ones first.
"""

from dataclasses import dataclass
from enum import StrEnum

from elastic_deploy.model.errors import ExitCode


class Verdict(StrEnum):
    """How a check ended. UNKNOWN: it could not be made, which is neither good nor bad, and is said."""

    PASS = "pass"
    WARNING = "warning"
    FAILURE = "failure"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True)
class Check:
    """One check. `sentence` says what was found, `mend` what to do about it (empty where nothing is to be done).

    `code` is what a command ends with where the check has failed: REFUSED, or NEVER_FITS for what can never be had.
    """

    name: str
    verdict: Verdict
    sentence: str
    mend: str = ""
    code: ExitCode = ExitCode.REFUSED


def exit_code(checks: tuple[Check, ...]) -> ExitCode:
    """What a command ends with after these checks: DONE unless one has failed; what can never be had comes first."""
    failed = {check.code for check in checks if check.verdict is Verdict.FAILURE}
    if ExitCode.NEVER_FITS in failed:
        return ExitCode.NEVER_FITS
    return ExitCode.REFUSED if failed else ExitCode.DONE
