"""A child process that the kernel ends with us, also where we are killed and can end nothing. Used by `tunnel`.

prctl(2)'s PR_SET_PDEATHSIG goes by the *thread* that started the child: it is set by a small program in between, which
then becomes the command, and who starts it must do so from a thread that lives as long as the child is to, such as the
main one. Not set in a `preexec_fn`, which may stand still where we have threads. Linux alone has it; elsewhere the
command runs as it is.
"""

import ctypes
import os
import signal
import sys
from collections.abc import Sequence

_PR_SET_PDEATHSIG = 1


def dying_with_us(command: Sequence[str]) -> list[str]:
    """The command line that runs `command` until the thread that starts it ends."""
    if sys.platform != "linux":
        return list(command)
    # -I and -S: no package of anybody's is loaded, which would take a while, and nothing from the working directory.
    return [sys.executable, "-I", "-S", __file__, str(os.getpid()), *command]


def main() -> None:
    """Ask the kernel, and become the command: `PARENT COMMAND...`."""
    parent, *command = sys.argv[1:]
    ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, int(signal.SIGTERM))
    if os.getppid() != int(parent):  # it ended before the kernel was asked
        sys.exit(1)
    try:
        os.execvp(command[0], command)
    except OSError as error:
        sys.exit(f"{command[0]} cannot be run ({error.strerror}). Install it.")


if __name__ == "__main__":
    main()
