"""The program `elastic-deploy`: finds the command, and turns every error into one sentence and an exit code.

Called by the console script. A command's module is imported only when that command is used: `--help` must be fast,
and nobody who asks for `status` should pay for what `up` needs.
"""

import contextlib
import os
import sys
import time
import traceback
from collections.abc import Sequence
from importlib import import_module
from typing import Any

import click

from elastic_deploy.cli.interruption import raise_on_sigterm
from elastic_deploy.model.errors import ExitCode, UserError
from elastic_deploy.model.home import home, write_private

COMMANDS = {
    "up": ("elastic_deploy.cli.up", "Launch or reuse a cluster, wait for its GPUs, serve a model."),
    "plan": ("elastic_deploy.cli.plan", "Say what `up` would do, and do nothing."),
    "status": ("elastic_deploy.cli.status", "Show the cluster, its deployments and what they wait for."),
    "explain": ("elastic_deploy.cli.explain", "Tell what a deployment waits for, what comes next, what you could do."),
    "events": ("elastic_deploy.cli.events", "Show the journal: what happened, and why."),
    "timeline": ("elastic_deploy.cli.timeline", "Draw who waited for what, when, as an HTML page or an SVG."),
    "logs": ("elastic_deploy.cli.logs", "Show the engines' logs."),
    "tunnel": ("elastic_deploy.cli.tunnel", "Hold an SSH tunnel from this machine to the endpoint."),
    "keys": ("elastic_deploy.cli.keys", "List, add, rotate and revoke the clients' keys."),
    "smoke": ("elastic_deploy.cli.smoke", "Rehearse the whole path here, without a GPU and without a cloud."),
    "doctor": ("elastic_deploy.cli.doctor", "Check what a launch needs, before it costs anything."),
    "generate": ("elastic_deploy.cli.generate", "Write a complete, commented cluster YAML."),
    "down": ("elastic_deploy.cli.down", "Stop the deployments, end the nodes, prove that nothing is left."),
}
"""Each command's module, which holds it as `command`, and its line in `--help`."""


class LazyGroup(click.Group):
    """A group whose commands are imported when they are used."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002
        """The commands in the order in which a person needs them."""
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002
        """The command of that name."""
        if cmd_name not in COMMANDS:
            return None
        command: click.Command = import_module(COMMANDS[cmd_name][0]).command
        return command

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command; a reader of our output that has enough is no error."""
        try:
            return super().invoke(ctx)
        except BrokenPipeError:
            # Python flushes stdout once more at its end, which must not fail aloud.
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            return ExitCode.DONE

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:  # noqa: ARG002
        """List the commands without importing them."""
        with formatter.section("Commands"):
            formatter.write_dl([(name, line) for name, (_, line) in COMMANDS.items()])


@click.group(cls=LazyGroup, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="elastic-deploy", message="%(version)s")
def program() -> None:
    """Serve a model with vLLM on a Ray cluster whose GPU nodes come late, one by one, and die.

    CLUSTER is a cluster YAML that `ray up` accepts too.
    """


def run(arguments: Sequence[str] | None = None) -> int:
    """Run one command line and return its exit code; every error has been shown by then."""
    try:
        result = program.main(args=arguments, prog_name="elastic-deploy", standalone_mode=False)
    except UserError as error:
        _say(f"Error: {error.message}")
        return int(error.code)
    except click.ClickException as error:
        hint = f" Try `{error.ctx.command_path} --help`." if isinstance(error, click.UsageError) and error.ctx else ""
        _say(f"Error: {error.format_message()}{hint}")
        return int(ExitCode.USAGE)
    except (click.Abort, KeyboardInterrupt):
        _say("Interrupted.")
        return int(ExitCode.INTERRUPTED)
    except Exception as error:  # noqa: BLE001 (the last resort: it is written down and said)
        _say(f"Error: {_internal(error)}")
        return int(ExitCode.INTERNAL)
    return result if isinstance(result, int) else int(ExitCode.DONE)


def main() -> None:
    """The console script."""
    raise_on_sigterm()
    code = run()
    with contextlib.suppress(BrokenPipeError):
        sys.stdout.flush()
    sys.exit(code)


def _internal(error: Exception) -> str:
    """Write the traceback of a bug to a file, and say where it is."""
    path = home() / "logs" / f"crash-{time.strftime('%Y%m%d-%H%M%S')}-{os.getpid()}.log"
    what = f"{type(error).__name__}: {error}".splitlines()[0]
    try:
        write_private(path, "".join(traceback.format_exception(error)))
    except OSError as disk:
        return f"this is a bug in elastic-deploy ({what}), and its log cannot be written to {path} ({disk.strerror})."
    return f"this is a bug in elastic-deploy ({what}). Please report it with the log {path}."


def _say(sentence: str) -> None:
    with contextlib.suppress(BrokenPipeError):
        print(" ".join(sentence.split()), file=sys.stderr)
