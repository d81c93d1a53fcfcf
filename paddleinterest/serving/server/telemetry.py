"""The figures of /metrics, in Prometheus' text format."""

from typing import TYPE_CHECKING, Any

from prometheus_client import CollectorRegistry, Counter, Histogram
from prometheus_client.core import GaugeMetricFamily, InfoMetricFamily
from prometheus_client.exposition import CONTENT_TYPE_LATEST, generate_latest
from prometheus_client.registry import Collector

if TYPE_CHECKING:
    from paddleinterest.serving.server.pool import Pool

CONTENT_TYPE = CONTENT_TYPE_LATEST
BUCKETS = (0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0)
COUNTS = {
    "requests": "Requests that were ranked; a list counts each of its own",
    "candidates": "Candidates that were scored",
    "unknown_items": "Candidates that the catalogue does not know",
    "unknown_history": "Events of histories whose item the catalogue does not know",
    "unknown_users": "Requests that name a user who is not known",
    "empty_histories": "Requests that were ranked without any history",
    "events": "Events that were kept",
}


class Telemetry:
    """Counts and times of one server.

    Args:
        pool: gives the queue and the scorers.

    Attributes:
        connections: open ones.
        answered, refused: bodies that POST /rank answered with 200, and all other answers to it.
    """

    def __init__(self, pool: "Pool") -> None:
        self.connections = 0
        self.answered = 0
        self.refused = 0
        self._registry = CollectorRegistry()
        self._answers = Counter(
            "paddleinterest_http_answers",
            "Answers by path and status",
            ["path", "status"],
            registry=self._registry,
        )
        self._refusals = Counter(
            "paddleinterest_refusals", "Refusals by reason", ["reason"], registry=self._registry
        )
        self._seconds = Histogram(
            "paddleinterest_http_seconds",
            "Seconds from a request's headers to its answer",
            ["path"],
            buckets=BUCKETS,
            registry=self._registry,
        )
        self._scoring = Histogram(
            "paddleinterest_scoring_seconds",
            "Seconds that a scorer took for a body",
            buckets=BUCKETS,
            registry=self._registry,
        )
        self._counts = {
            name: Counter(f"paddleinterest_{name}", words, registry=self._registry)
            for name, words in COUNTS.items()
        }
        self._registry.register(_State(self, pool))

    def answer(self, path: str, status: int, seconds: float) -> None:
        """Count an answer.

        Args:
            path: of the route, from a fixed set, so that clients cannot make labels.
            status: of HTTP.
            seconds: since the request's headers.
        """
        self._answers.labels(path, status).inc()
        self._seconds.labels(path).observe(seconds)
        if path == "/rank":
            self.answered += status == 200
            self.refused += status != 200

    def refusal(self, reason: str) -> None:
        """Count a refusal."""
        self._refusals.labels(reason).inc()

    def scored(self, facts: dict[str, Any]) -> None:
        """Count a scorer's facts about its reply."""
        self._scoring.observe(facts["seconds"])
        for name, counter in self._counts.items():
            if facts.get(name):
                counter.inc(facts[name])

    def text(self) -> bytes:
        """All of it, for /metrics."""
        return generate_latest(self._registry)


class _State(Collector):
    """Figures of the moment of the request."""

    def __init__(self, telemetry: Telemetry, pool: "Pool") -> None:
        self._telemetry = telemetry
        self._pool = pool

    def collect(self) -> Any:
        pool = self._pool
        gauges = {
            "queue": ("Requests that wait for a scorer", len(pool.queue)),
            "busy_scorers": ("Scorers that work", pool.busy),
            "connections": ("Open connections", self._telemetry.connections),
            "ready": ("Whether /readyz says yes", int(not pool.stuck())),
            "scorer_restarts": ("Scorers and loaders that were replaced", pool.restarts),
        }
        for name, (words, value) in gauges.items():
            yield GaugeMetricFamily(f"paddleinterest_{name}", words, value=value)
        reloads = GaugeMetricFamily("paddleinterest_reloads", "Reloads", labels=["result"])
        for result, number in pool.reloads.items():
            reloads.add_metric([result], number)
        yield reloads
        labels = {key: str(pool.facts.get(key, "")) for key in ("version", "model", "dataset")}
        yield InfoMetricFamily("paddleinterest_bundle", "The bundle that answers", value=labels)
