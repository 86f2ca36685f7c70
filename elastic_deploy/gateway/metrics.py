"""The gateway's numbers for Prometheus. Labels come from the routing table, never from a client.

`door` counts a request at its end; gauges are read from their owners when somebody looks.
"""

from collections.abc import Callable

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, ProcessCollector, generate_latest

from elastic_deploy.gateway.ask import GENERATING
from elastic_deploy.gateway.balance import Load
from elastic_deploy.gateway.hold import WaitingRoom
from elastic_deploy.gateway.record import Outcome, Record
from elastic_deploy.gateway.table import RoutingTable
from elastic_deploy.model.names import EngineName

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
_PREFIX = "elastic_deploy_gateway"
_SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300)
"""From a gateway's own answer to a hold that outlasts a recovery."""


class Metrics:
    """A registry of its own, so that two gateways can live in one process."""

    def __init__(self) -> None:
        self._registry = CollectorRegistry()
        replica = ("deployment", "replica")
        self._requests = self._counter("requests", "Requests that have ended, by HTTP status.", (*replica, "status"))
        self._ends = self._counter("ends", "Requests that did not end with a whole answer.", (*replica, "outcome"))
        self._troubles = self._counter("engine_errors", "Attempts that an engine did not answer.", (*replica, "kind"))
        self._retries = self._counter("retries", "Further attempts for requests already tried.", ("deployment",))
        self._continued = self._counter("continued", "Streams that another engine went on with.", ("deployment",))
        self._held_total = self._counter("held", "Requests that had to wait for an engine.", ("deployment",))
        self._sent = self._counter("response_bytes", "Bytes of answers sent to clients.", replica)
        self._first_byte = Histogram(
            f"{_PREFIX}_first_byte_seconds",
            "From a request's headers to the first byte of its answer, waiting for an engine included.",
            replica,
            buckets=_SECONDS,
            registry=self._registry,
        )
        self._first_token = Histogram(
            f"{_PREFIX}_first_token_seconds",
            "From a request's headers to the first token that its client was told; of a whole answer, to all of it.",
            (*replica, "answer"),
            buckets=_SECONDS,
            registry=self._registry,
        )
        self._prompt = self._counter("prompt_tokens", "Tokens of prompts that were answered.", replica)
        self._generated = self._counter("generated_tokens", "Tokens of answers that clients were told.", replica)
        self._uncounted = self._counter("uncounted", "Generated answers whose tokens nobody counted.", replica)
        self._connections = self._gauge("connections", "Connections of clients that are open.", ())
        self._connections_refused = self._counter("connections_refused", "Connections over the bound.", ())
        self._outstanding = self._gauge("outstanding", "Requests that an engine works on.", replica)
        self._waiting = self._gauge("waiting", "Requests that wait for an engine.", ("deployment",))
        self._backends = self._gauge("backends", "Engines in the routing table.", ("deployment",))
        ProcessCollector(registry=self._registry)

    def _counter(self, name: str, says: str, labels: tuple[str, ...]) -> Counter:
        return Counter(f"{_PREFIX}_{name}", says, labels, registry=self._registry)

    def _gauge(self, name: str, says: str, labels: tuple[str, ...]) -> Gauge:
        return Gauge(f"{_PREFIX}_{name}", says, labels, registry=self._registry)

    def connection_refused(self) -> None:
        """A connection was over the bound."""
        self._connections_refused.inc()

    def count_connections(self, count: Callable[[], int]) -> None:
        """`count` says how many connections are open, whenever somebody looks."""
        self._connections.set_function(count)

    def trouble(self, engine: EngineName, kind: str) -> None:
        """An engine did not answer: it refused, broke, or was silent."""
        self._troubles.labels(engine.deployment, engine.replica, kind).inc()

    def count(self, record: Record) -> None:
        """A request has ended."""
        replica = record.engine.replica if record.engine else ""
        self._requests.labels(record.deployment, replica, record.status).inc()
        if record.outcome is not Outcome.ANSWERED:
            self._ends.labels(record.deployment, replica, record.outcome).inc()
        if record.attempts > 1:
            self._retries.labels(record.deployment).inc(record.attempts - 1)
        if record.continued:
            self._continued.labels(record.deployment).inc(record.continued)
        if record.held:
            self._held_total.labels(record.deployment).inc()
        if record.engine and record.first_byte is not None:
            self._first_byte.labels(record.deployment, replica).observe(record.first_byte)
            self._sent.labels(record.deployment, replica).inc(record.response_size)
            self._count_tokens(record, replica)

    def _count_tokens(self, record: Record, replica: str) -> None:
        if record.first_token is not None:
            answer = "stream" if record.stream else "whole"
            self._first_token.labels(record.deployment, replica, answer).observe(record.first_token)
        if record.prompt_tokens is not None:
            self._prompt.labels(record.deployment, replica).inc(record.prompt_tokens)
            self._generated.labels(record.deployment, replica).inc(record.generated_tokens or 0)
        elif record.status == 200 and record.path in GENERATING:
            self._uncounted.labels(record.deployment, replica).inc()

    def page(self, table: RoutingTable | None, load: Load, room: WaitingRoom) -> bytes:
        """What Prometheus reads."""
        for gauge in (self._outstanding, self._waiting, self._backends):
            gauge.clear()
        for entry in table.entries if table else ():
            self._waiting.labels(entry.deployment).set(room.waiting(entry.model))
            self._backends.labels(entry.deployment).set(len(entry.backends))
        for engine in load.busy(table.backends if table else ()):
            self._outstanding.labels(engine.deployment, engine.replica).inc(load.outstanding(engine))
        return generate_latest(self._registry)
