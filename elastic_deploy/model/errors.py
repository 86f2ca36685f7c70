"""Errors that a user is meant to read, each with the exit code that the contract gives it.

Raised anywhere, shown by `cli` as one sentence, never as a traceback. The message names the thing, the reason and
the mend.
"""

from enum import IntEnum


class ExitCode(IntEnum):
    """What a command's exit status says; scripts rely on these numbers."""

    DONE = 0
    INTERNAL = 1
    USAGE = 2
    INVALID_CONFIG = 3
    NEVER_FITS = 4
    WAIT_TIMEOUT = 5
    ENGINE_FAILED = 6
    REFUSED = 7
    INTERRUPTED = 130


class UserError(Exception):
    """Something that the user can mend. `code` is the exit status of the command that meets it."""

    code: ExitCode = ExitCode.INTERNAL

    def __init__(self, message: str) -> None:
        super().__init__(message)
        self.message = message


class UsageError(UserError):
    """The command line itself is wrong."""

    code = ExitCode.USAGE


class InvalidConfigError(UserError):
    """The cluster YAML, or a setting, is invalid."""

    code = ExitCode.INVALID_CONFIG


class NeverFitsError(UserError):
    """What is asked can never be had, however long one waits."""

    code = ExitCode.NEVER_FITS


class WaitTimeoutError(UserError):
    """The GPUs did not come before the deadline."""

    code = ExitCode.WAIT_TIMEOUT


class EngineFailedError(UserError):
    """The engine cannot start, or keeps failing; the message ends with its own last words."""

    code = ExitCode.ENGINE_FAILED


class RefusedError(UserError):
    """The cloud, SSH or the head refused."""

    code = ExitCode.REFUSED
