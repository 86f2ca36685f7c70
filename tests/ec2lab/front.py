"""What stands before moto and hears every request first: a WSGI application around moto's own.

It refuses what the lab has been told to refuse, and turns RunInstances into what EC2 makes of it: moto launches
MinCount, so MinCount becomes the number that there is room for, and a subnet is named where none was. Everything else
goes to moto untouched. Answers are in the XML of the service that was asked.
"""

import io
from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager
from typing import Any
from urllib.parse import parse_qsl, urlencode
from xml.sax.saxutils import escape

from tests.ec2lab.words import Refusal

Environ = dict[str, Any]
Application = Callable[[Environ, Callable[..., Any]], Iterable[bytes]]
Parameters = dict[str, str]


class Front:
    """`refuse` says whether a call is refused, by its operation; `place` makes of a launch what there is room for.

    One call is served at a time, under `lock`: moto's instances change between calls, and what `place` has counted must
    be launched before the next is counted.
    """

    def __init__(
        self,
        moto: Application,
        refuse: Callable[[str], Refusal | None],
        place: Callable[[Parameters], Parameters | Refusal],
        lock: AbstractContextManager[object],
    ) -> None:
        self._moto, self._refuse, self._place, self._lock = moto, refuse, place, lock

    def __call__(self, environ: Environ, start_response: Callable[..., Any]) -> Iterable[bytes]:
        parameters = _form(environ)
        operation = parameters.get("Action", "")
        if operation and (refusal := self._refuse(operation)):
            return _answer(refusal, environ, start_response)
        with self._lock:
            if operation == "RunInstances" and parameters.get("DryRun") != "true":
                placed = self._place(parameters)
                if isinstance(placed, Refusal):
                    return _answer(placed, environ, start_response)
                body = urlencode(placed).encode()
                environ["wsgi.input"], environ["CONTENT_LENGTH"] = io.BytesIO(body), str(len(body))
            return list(self._moto(environ, start_response))


def _form(environ: Environ) -> Parameters:
    """The request's form, which is left to be read again. Empty for what is not a form."""
    if not environ.get("CONTENT_TYPE", "").startswith("application/x-www-form-urlencoded"):
        return {}
    body = environ["wsgi.input"].read(int(environ.get("CONTENT_LENGTH") or 0))
    environ["wsgi.input"] = io.BytesIO(body)
    return dict(parse_qsl(body.decode(), keep_blank_values=True))


def _answer(refusal: Refusal, environ: Environ, start_response: Callable[..., Any]) -> Iterable[bytes]:
    scope = environ.get("HTTP_AUTHORIZATION", "").partition("Credential=")[2].split(",")[0].split("/")
    service = scope[3] if len(scope) > 3 else "ec2"
    error = f"<Code>{escape(refusal.code)}</Code><Message>{escape(refusal.message)}</Message>"
    if service == "ec2":
        xml = f"<Response><Errors><Error>{error}</Error></Errors><RequestID>lab</RequestID></Response>"
    else:
        xml = f"<ErrorResponse><Error><Type>Sender</Type>{error}</Error><RequestId>lab</RequestId></ErrorResponse>"
    body = f'<?xml version="1.0" encoding="UTF-8"?>\n{xml}'.encode()
    start_response(f"{refusal.status} Refused", [("Content-Type", "text/xml"), ("Content-Length", str(len(body)))])
    return [body]
