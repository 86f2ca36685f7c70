"""A pipe from a child process that is read line by line, without ever waiting longer than asked. Used by `launch`."""

import contextlib
import os
import select
from types import TracebackType


class LinePipe:
    """A pipe. The write end is for one child; close it here once the child has it."""

    def __init__(self) -> None:
        self._read_end, self.write_end = os.pipe()
        self._pending = b""
        self.ended = False

    def __enter__(self) -> "LinePipe":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close_write_end()
        os.close(self._read_end)

    def close_write_end(self) -> None:
        """Leave the write end to the child alone; may be repeated."""
        if self.write_end >= 0:
            with contextlib.suppress(OSError):
                os.close(self.write_end)
            self.write_end = -1

    def read(self, timeout_s: float) -> list[str]:
        """The whole lines that have come within `timeout_s` seconds; sets `ended` at the end of the stream."""
        lines: list[bytes] = []
        while not self.ended and select.select([self._read_end], [], [], timeout_s)[0]:
            chunk = os.read(self._read_end, 65536)
            self.ended = not chunk
            *whole, self._pending = (self._pending + chunk).split(b"\n")
            lines += whole
            timeout_s = 0.0
        return [line.decode(errors="replace") for line in lines]
