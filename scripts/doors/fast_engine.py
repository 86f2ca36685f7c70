"""An engine that answers at once, so that what a door costs is not lost in what it waits for.

Called by scripts/bench-gateway, which starts it as a process of its own. It answers what routers ask of an engine
before they send it anything (its health and its models), and says of everything else of that kind that it has none.
"""

import asyncio
import json

from elastic_deploy.gateway.sse import END, data_event

MODEL = "bench"
EVENTS = 16
"""Events of a stream, one after another without a pause."""

_CHOICE = {"index": 0, "delta": {"content": " fox"}, "logprobs": None, "finish_reason": None, "token_ids": [500]}
_CHUNK = {"id": "chatcmpl-" + 32 * "0", "object": "chat.completion.chunk", "created": 1, "model": MODEL}
_EVENT = data_event(_CHUNK | {"choices": [_CHOICE]})
_MESSAGE = {"index": 0, "message": {"role": "assistant", "content": "foxes " * 30}, "finish_reason": "stop"}
_USAGE = {"prompt_tokens": 100, "completion_tokens": 60, "total_tokens": 160}
_ANSWER = {"id": "chatcmpl-0", "object": "chat.completion", "created": 1, "model": MODEL, "choices": [_MESSAGE]}
_CARD = {"id": MODEL, "object": "model", "created": 1, "owned_by": "vllm", "root": MODEL, "max_model_len": 4096}


def _whole(document: object, status: bytes = b"200 OK") -> bytes:
    body = json.dumps(document).encode()
    head = b"HTTP/1.1 %b\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n"
    return head % (status, len(body)) + body


ANSWER = _whole(_ANSWER | {"usage": _USAGE})
NOT_FOUND = _whole({"detail": "Not Found"}, b"404 Not Found")
OF_ITSELF = {b"/v1/models": _whole({"object": "list", "data": [_CARD]}), b"/health": _whole({})}
STREAM_HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"


def length_of(head: bytes) -> int:
    """Content-Length in a block of headers."""
    return int(head.lower().partition(b"content-length:")[2].partition(b"\r\n")[0] or 0)


class FastEngine(asyncio.Protocol):
    """One connection."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.transport, self.data = transport, b""

    def data_received(self, data: bytes) -> None:
        self.data += data
        head, end, body = self.data.partition(b"\r\n\r\n")
        if not end or len(body) < length_of(head):
            return
        self.data = b""
        method, path, *_ = head.split(b" ", 2)
        if method == b"GET":
            self.transport.write(OF_ITSELF.get(path, NOT_FOUND))
        elif b'"stream":true' in body or b'"stream": true' in body:
            self.transport.write(STREAM_HEAD)
            for event in (*[_EVENT] * EVENTS, END):
                self.transport.write(b"%x\r\n%b\r\n" % (len(event), event))
            self.transport.write(b"0\r\n\r\n")
        else:
            self.transport.write(ANSWER)


def serve() -> None:
    """Be the engine: prints the port, and serves until it is ended."""

    async def serving() -> None:
        server = await asyncio.get_running_loop().create_server(FastEngine, "127.0.0.1", 0)
        print(server.sockets[0].getsockname()[1], flush=True)
        await server.serve_forever()

    asyncio.run(serving())


if __name__ == "__main__":
    serve()
