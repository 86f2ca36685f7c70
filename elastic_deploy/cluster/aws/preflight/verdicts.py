"""How the checks say what they found. Pure."""

from elastic_deploy.cluster.aws.preflight.facts import Unknown
from elastic_deploy.model.check import Check, Verdict
from elastic_deploy.model.errors import ExitCode


def passed(name: str, sentence: str) -> Check:
    """All is well."""
    return Check(name, Verdict.PASS, sentence)


def warning(name: str, sentence: str, mend: str) -> Check:
    """A launch will work, and perhaps not as meant."""
    return Check(name, Verdict.WARNING, sentence, mend)


def failure(name: str, sentence: str, mend: str, code: ExitCode = ExitCode.REFUSED) -> Check:
    """A launch cannot work."""
    return Check(name, Verdict.FAILURE, sentence, mend, code)


def unknown(name: str, what: str, answer: Unknown) -> Check:
    """`what` could not be found out."""
    return Check(name, Verdict.UNKNOWN, f"{what} is not known: {answer.reason}.")


def found(name: str, faults: list[Check], sentence: str) -> tuple[Check, ...]:
    """The faults; where there are none, a pass with `sentence`."""
    return tuple(faults) or (passed(name, sentence),)
