"""Run on a host or the laptop: where secrets stand that should stand nowhere but in their own files.

`python secrets_search.py SECRET[,SECRET...] DIRECTORY...`: each secret written backwards, or this program would find
itself. Prints a line for each find: a process's command line, or a file below a directory. Files that are there to hold
a secret, readable by their owner alone, are no finds.
"""

import os
import sys
from collections.abc import Iterator
from pathlib import Path

HOLDERS = {"ray-token", "keys", "keys.json", "routes.json", "state.json", "engine-keys.json"}
"""Names of files, or of directories of files, that hold secrets by their purpose."""


def main() -> int:
    """Search, and say what was found; the exit status is 1 where anything was."""
    secrets = [word[::-1].encode() for word in sys.argv[1].split(",")]
    found = [*in_command_lines(secrets), *(find for root in sys.argv[2:] for find in in_files(Path(root), secrets))]
    print("\n".join(found))
    return 1 if found else 0


def in_command_lines(secrets: list[bytes]) -> Iterator[str]:
    """The processes whose arguments hold a secret."""
    for process in Path("/proc").glob("[0-9]*"):
        try:
            words = (process / "cmdline").read_bytes()
        except OSError:
            continue  # it has ended
        if any(secret in words for secret in secrets):
            yield f"process {process.name}: {words.split(chr(0).encode())[:2]}"


def in_files(root: Path, secrets: list[bytes]) -> Iterator[str]:
    """The files below `root` that hold a secret and are not there for it."""
    for directory, _, names in [("", [], [str(root)])] if root.is_file() else os.walk(root):
        for path in (Path(directory) / name for name in names):
            try:
                if not path.is_file() or not any(secret in path.read_bytes() for secret in secrets):
                    continue
                private = path.stat().st_mode & 0o077 == 0
            except OSError:
                continue
            if not (private and HOLDERS & set(path.parts)):
                yield f"file {path}"


if __name__ == "__main__":
    sys.exit(main())
