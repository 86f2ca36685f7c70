"""Requests that no honest client sends, near enough to honest ones to get somewhere. For hypothesis; opens no socket.

`NONCE` in a body is filled in by who sends it, with as many characters, so that lengths stay right. A body whose
request has no right key says `KEYLESS`: whoever finds that word behind the gateway has found a hole.
"""

import re
from dataclasses import dataclass

from hypothesis import strategies as st

from elastic_deploy.gateway.coverage import COUNTED, NOT_COVERED, RENDERED
from elastic_deploy.gateway.paths import FORWARDED

from .stand_in import CLIENT_KEY

NONCE = b"n-0000000000"
KEYLESS = b"keyless"
LARGEST = 100_000
"""Bytes of a body that the gateway is told to take."""
RIGHT_KEY = f"Authorization: Bearer {CLIENT_KEY}".encode()


@dataclass(frozen=True)
class Hostile:
    """What goes over one connection.

    `methods` of the requests in it, `whole` if at least the first of them must be answered at once. `cuts` are places
    where the bytes are sent in parts, `leaves` the bytes after which the client goes away without reading.
    """

    data: bytes
    methods: tuple[str, ...] = ("POST",)
    whole: bool = False
    cuts: tuple[int, ...] = ()
    leaves: int | None = None


class Batch(tuple[Hostile, ...]):
    """Connections of one example. Without the text of all its bytes, which hypothesis would make for each."""

    __slots__ = ()

    def __repr__(self) -> str:
        return f"<{len(self)} connections>"


PATHS = sorted(FORWARDED)
OWN = ("/v1/models", "/v1/models/tiny", "/v1/models/no", "/v1/models/%ff%00", "/v1/models//", "/health", "/ready")
CLOSED = ("/pause", "/invocations", "/v1/load_lora_adapter", "/collective_rpc", "/docs", "/version", "/", "*", "/v1")
METHODS = ("POST", "GET", "HEAD", "PUT", "DELETE", "PATCH", "OPTIONS", "TRACE", "CONNECT", "post", "PRI", "X" * 40)
AROUND_PATH = (
    *(("", suffix) for suffix in ("/", "//", "/.", "/..", "/../../pause", "?", "?a=b", "?" + "q" * 900, "#f", ";v=1")),
    *(("", suffix) for suffix in ("%00", "%0d%0aX:%20y", "%2f..%2fpause", "%", "%zz", "\\..\\pause", "\t", "é")),
    *((prefix, "") for prefix in ("/", "//", "/.", "/..", "/v1", "\\", "%2f", "http://x", "http://[::1", "//x:y@z")),
)


@st.composite
def targets(draw: st.DrawFn) -> str:
    """What stands between the method and the version: a path that is allowed, that looks like one, or is closed."""
    path = draw(st.sampled_from([*PATHS, *PATHS, *OWN, *CLOSED]))
    kind = draw(st.integers(0, 5))
    if kind == 0:
        before, after = draw(st.sampled_from(AROUND_PATH))
        return before + path + after
    place = draw(st.integers(0, len(path) - 1))
    if kind == 1:
        return f"{path[:place]}%{ord(path[place]):02x}{path[place + 1 :]}"
    if kind == 2:
        return path[:place] + path[place:].replace("/", draw(st.sampled_from(["//", "/./", "/x/../", "%2f", "\\"])))
    if kind == 3:
        return path[:place] + path[place].swapcase() + path[place + 1 :]
    if kind == 4:
        return path[:place] + draw(st.text(min_size=1, max_size=3)) + path[place:]
    return path


HEADERS = (
    *(b"X-Long: " + b"a" * size for size in (1000, 8000, 8170, 8190, 8200, 20_000)),
    *(b"\r\n".join(b"X-%d: a" % n for n in range(count)) for count in (10, 55, 70, 1000)),
    *(b"X: a\x00b", b"X: a\rb", b"X: a\nb", b"X\x01: a", b" X: a", b"X : a", b": a", b"X", b"X: \x7f", b"X: \xff\xfe"),
    *(b"X\xc3\xa9: a", b"X:", b"X: a\r\n b", b"X:a", b"X: \t a \t", b"\x00", b"Host: a", b"Host: a b", b"Host:"),
    *(b"Content-Type: " + kind for kind in (b"", b"text/plain", b"application/json; charset=no", b"x" * 5000)),
    *(b"Content-Type: " + kind for kind in (b"\xff", b"a\tb", b"\xc3\xa9", b"multipart/form-data; boundary=", b";;;")),
    *(b"Expect: " + expect for expect in (b"100-continue", b"100-Continue, x", b"200-ok", b"", b"\xff")),
    *(
        b"Connection: " + what
        for what in (b"close", b"keep-alive", b"upgrade", b"Authorization", b"close, close", b",")
    ),
    *(b"Upgrade: " + to + b"\r\nConnection: upgrade" for to in (b"websocket", b"h2c", b"TLS/1.0")),
    *(b"Content-Encoding: " + how for how in (b"gzip", b"deflate", b"br", b"zstd", b"identity", b"x", b"gzip, gzip")),
    *(
        b"Accept-Encoding: gzip, br",
        b"Range: bytes=0-5",
        b"If-None-Match: *",
        b"Cookie: a=b; c",
        b"Trailer: X",
        b"TE: x",
    ),
    *(b"X-Request-Id: mine", b"X-Forwarded-For: 127.0.0.1", b"X-HTTP-Method-Override: DELETE", b"Forwarded: for=_x"),
    *(b"Proxy-Authorization: Bearer x", b"Accept: \xff", b"User-Agent:", b"Sec-WebSocket-Key: AAAA", b"Keep-Alive: x"),
)
KEYS = (
    *(b"", b"Authorization: Bearer ", b"Authorization: Bearer wrong", b"Authorization: Basic " + CLIENT_KEY.encode()),
    *(RIGHT_KEY[:-1], RIGHT_KEY + b"x", RIGHT_KEY.replace(b"Bearer ", b"Bearer"), b"Authorization: Bearer \xff\xfe"),
    *(b"Authorization: Bearer " + b"k" * 7000, b"api-key: " + CLIENT_KEY.encode(), b"Authorization:"),
)
FRAMINGS = (
    *(
        b"Content-Length: %d",
        b"Content-Length: +%d",
        b"Content-Length: -%d",
        b"Content-Length: %d0",
        b"Content-Length: 0",
    ),
    *(
        b"Content-Length: %d, %d",
        b"Content-Length: 0x%x",
        b"Content-Length: %d\r\nContent-Length: %d",
        b"Content-Length:",
    ),
    *(b"Content-Length: %d\r\nContent-Length: 3", b"Content-Length: " + b"9" * 30, b"Content-Length: 1_0", b""),
    *(b"Content-Length: %d\r\nTransfer-Encoding: chunked", b"Transfer-Encoding: chunked\r\nContent-Length: %d"),
    *(b"Transfer-Encoding: " + how for how in (b"chunked", b"Chunked", b"gzip", b"gzip, chunked", b"chunked, chunked")),
    *(b"Transfer-Encoding: " + how for how in (b"identity", b"\x0bchunked", b"chunked\x00", b"", b"xchunked")),
    *(b"Transfer-Encoding : chunked", b"Transfer-Encoding:\tchunked", b"Transfer-Encoding\r\n: chunked"),
)

KNOWN = sorted({*COUNTED, *RENDERED, *NOT_COVERED, "model", "stream", "stream_options", "stop", "temperature", "seed"})
VALUES = (
    *(
        "null",
        "true",
        "false",
        "0",
        "-1",
        "1.5",
        "1e400",
        "-1e400",
        "NaN",
        "-Infinity",
        "9" * 400,
        "9" * 5000,
        "01",
        "",
    ),
    *('""', '"x"', '"tiny"', '"waiting"', '"unknown"', r'"\ud800"', r'"\u0000"', '"\u2028"', f'"{"a" * 3000}"', "'x'"),
    *(
        "[]",
        "{}",
        "[null]",
        "[[[]]]",
        "[1, 2, 3]",
        '["tiny"]',
        '{"": {}}',
        '{"include_usage": 1}',
        "tru",
        "[,]",
        "[1,]",
    ),
    *("[" * 200 + "]" * 200, "[" * 5000 + "]" * 5000, '{"a":' * 300 + "1" + "}" * 300, '{"type": "json_object"}'),
    *('[{"role": "user"}]', '[{"content": [{"type": "image_url"}, 1, "x", null]}]', "[" + "0," * 9000 + "0]"),
)
BASES = (
    [("model", '"tiny"'), ("prompt", '"Hi"')],
    [("model", '"tiny"'), ("prompt", '"Hi"'), ("stream", "true")],
    [("model", '"tiny"'), ("messages", '[{"role": "user", "content": "Hi"}]')],
    [("model", '"tiny"'), ("messages", '[{"role": "user", "content": "Hi"}]'), ("stream", "true")],
    [("model", '"waiting"'), ("prompt", '"Hi"'), ("stream", "true")],
    *([("model", '"tiny"'), ("prompt", '"Hi"'), ("answer_with", how)] for how in ("500", "400", "204", '"text"')),
)


@st.composite
def bodies(draw: st.DrawFn, *, opens: bool) -> bytes:
    """A JSON body that is nearly right."""
    fields = [*draw(st.sampled_from(BASES)), ("user", f'"{(NONCE if opens else KEYLESS).decode()}"')]
    for _ in range(draw(st.integers(0, 2))):
        field = (draw(st.sampled_from(KNOWN)), draw(st.sampled_from(VALUES)))
        fields.insert(draw(st.integers(0, len(fields))), field)
    body = ("{" + ", ".join(f'"{name}": {value}' for name, value in fields) + "}").encode()
    match draw(st.integers(0, 30)):
        case 0:
            return body[: draw(st.integers(0, len(body)))]
        case 1:
            place = draw(st.integers(0, len(body)))
            return body[:place] + draw(st.binary(min_size=1, max_size=4)) + body[place:]
        case 2:
            return body.decode().encode(draw(st.sampled_from(["utf-16", "utf-32-be", "utf-8-sig"])))
        case 3:
            return draw(st.sampled_from([b"", b" ", b"null", b"[]", b'"x"', b"1", b"[" * 90_000, b'{"a":' * 15_000]))
        case 4:
            return body + draw(st.sampled_from([b" ", b"}", b"\x00", b"{}", b"\n\n"]))
        case 6:
            return body + b" " * (LARGEST - len(body) + draw(st.integers(-1, 1)))
        case 5:
            return draw(st.binary(max_size=40))
    return body


def chunked(body: bytes, size: int, extension: bytes = b"", trailer: bytes = b"") -> bytes:
    """A body in HTTP's chunks of `size` bytes; one that holds a nonce is left whole."""
    pieces: list[bytes] = []
    for text in re.split(b"(" + NONCE + b")", body):
        step = len(text) if text == NONCE else size
        pieces += [text[begin : begin + step] for begin in range(0, len(text), step)]
    return b"".join(b"%x%b\r\n%b\r\n" % (len(p), extension, p) for p in pieces) + b"0\r\n" + trailer + b"\r\n"


@st.composite
def requests(draw: st.DrawFn, *, strange: str) -> Hostile:
    """One request that is strange in its "target", its "headers" or its "body" and otherwise in order."""
    opens = draw(st.integers(0, 3)) > 0
    body = draw(bodies(opens=opens)) if strange == "body" else _plain_body(opens, draw(st.booleans()))
    key = RIGHT_KEY if opens else draw(st.sampled_from(KEYS))
    method, target, version = "POST", draw(st.sampled_from(PATHS)), "HTTP/1.1"
    lines, sent, whole = [key] if key else [], body, True
    framing = b"Content-Length: %d" % len(body)
    if strange == "target":
        method, target = draw(st.sampled_from([*METHODS, *["POST"] * 12])), draw(targets())
        version = draw(
            st.sampled_from([*["HTTP/1.1"] * 6, "HTTP/1.0", "HTTP/2", "HTTP/0.9", "http/1.1", "", "HTTP/1.1 x"])
        )
    elif strange == "headers":
        for _ in range(draw(st.integers(0, 3))):
            lines.insert(draw(st.integers(0, len(lines))), draw(st.sampled_from(HEADERS)))
        if draw(st.booleans()):
            template = draw(st.sampled_from(FRAMINGS))
            framing = template % ((len(body),) * template.count(b"%"))
            whole = False
            sent = draw(st.sampled_from([body, chunked(body, 50), b"", b"zz\r\n", b"-1\r\n\r\n", b"f" * 40 + b"\r\n"]))
    elif draw(st.booleans()):
        framing = b"Transfer-Encoding: chunked"
        extension, trailer = draw(st.sampled_from([(b"", b""), (b";a=b", b""), (b"", b"X: y\r\n"), (b";" * 90, b"")]))
        # What follows no grammar is refused at once, or, if the head came alone, when the time for the body is over.
        whole = not extension.startswith(b";;")
        sent = chunked(body, draw(st.sampled_from([1, 50, 4096])) if len(body) < 5000 else 4096, extension, trailer)
    lines += [b"Host: x", framing]
    head = f"{method} {target} {version}".encode("utf-8", "surrogatepass") + b"\r\n" + b"\r\n".join(lines) + b"\r\n\r\n"
    if draw(st.integers(0, 9)) == 0:
        return Hostile(head + sent, (method,), leaves=draw(st.integers(0, len(head) + len(sent))))
    cuts = draw(st.lists(st.integers(0, len(head) + len(sent)), max_size=2))
    return Hostile(head + sent, (method,), whole, tuple(sorted(cuts)))


def _plain_body(opens: bool, stream: bool) -> bytes:
    fields = b'"model": "tiny", "prompt": "Hi", "user": "%b"' % (NONCE if opens else KEYLESS)
    return b"{" + fields + (b', "stream": true}' if stream else b"}")


@st.composite
def pipelines(draw: st.DrawFn) -> Hostile:
    """Several requests at once over one connection; sometimes one hides in another's body."""
    parts = draw(st.lists(st.sampled_from(["target", "headers", "body"]), min_size=2, max_size=3))
    sent = [draw(requests(strange=part)) for part in parts]
    data = b"".join(each.data for each in sent)
    if draw(st.integers(0, 3)) == 0:
        hidden = b"POST /v1/completions HTTP/1.1\r\nHost: x\r\nContent-Length: 60\r\n\r\n" + _plain_body(False, False)
        data = data.replace(b"\r\n\r\n", b"\r\n\r\n" + hidden, 1)
    return Hostile(data, tuple(each.methods[0] for each in sent))


NO_HTTP = (
    *(
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        b"\r\n" * 50,
        b"\x00" * 100,
    ),
    *(b"GET / HTTP/1.1", b"GET\r\n\r\n", b"\r\n\r\nGET /health HTTP/1.1\r\nHost: x\r\n\r\n", b"PROXY TCP4 1 1 1 1\r\n"),
    *(
        b"SSH-2.0-x\r\n",
        b"EHLO x\r\n",
        b"*1\r\n$4\r\nPING\r\n",
        b"a" * 70_000,
        b"GET /" + b"a" * 9000,
        b"GET / HTTP/1.1\r\n",
    ),
)


@st.composite
def raw_bytes(draw: st.DrawFn) -> Hostile:
    """Bytes that are no HTTP, or a request with some of its bytes changed."""
    if draw(st.integers(0, 3)) == 0:
        return Hostile(draw(st.sampled_from(NO_HTTP) | st.binary(max_size=200)))
    data = bytearray(draw(requests(strange=draw(st.sampled_from(["target", "headers"])))).data)
    for _ in range(draw(st.integers(1, 4))):
        place = draw(st.integers(0, max(0, len(data) - 1)))
        match draw(st.integers(0, 2)):
            case 0:
                data[place : place + 1] = draw(st.binary(min_size=1, max_size=1))
            case 1:
                data[place:place] = draw(st.sampled_from([b"\r\n", b"\x00", b"\xff", b" ", b":", b"\r", b"\n", b"0"]))
            case 2:
                del data[place : place + draw(st.integers(1, 20))]
    return Hostile(bytes(data))
