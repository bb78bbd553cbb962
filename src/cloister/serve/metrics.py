"""Counters for Prometheus, at /metrics. They name protocols, steps and statuses; never a session, secret or client."""

from typing import Final

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

__all__ = ["Metrics"]

BUCKETS: Final = (0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 15.0)
"""Seconds."""
ROUTES: Final = (
    ("/kbs/v0/auth", "kbs-auth"),
    ("/kbs/v0/attest", "kbs-attest"),
    ("/kbs/v0/resource/", "kbs-resource"),
    ("/challenge-response/v1/newSession", "veraison-new-session"),
    ("/challenge-response/v1/session/", "veraison-session"),
    ("/cloister/v1/provision/", "provision"),
    ("/cloister/v1/challenge", "request-challenge"),
    ("/admin/v1/", "admin"),
)
OTHER: Final = "other"


class Metrics:
    """One registry for one service."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self._requests = Counter("cloister_requests", "Requests answered.", ("step", "status"), registry=self.registry)
        self._seconds = Histogram(
            "cloister_request_seconds", "Time to answer.", ("step",), registry=self.registry, buckets=BUCKETS
        )
        self._crashes = Counter("cloister_crashes", "Requests at which Cloister failed.", registry=self.registry)
        self.open = Gauge("cloister_requests_open", "Requests being answered.", registry=self.registry)

    def answered(self, path: str, status: int, seconds: float) -> None:
        """Count one answer."""
        step = step_of(path)
        self._requests.labels(step, str(status)).inc()
        self._seconds.labels(step).observe(seconds)

    def crashed(self) -> None:
        """Count one failure of ours."""
        self._crashes.inc()

    def text(self) -> bytes:
        """What Prometheus reads."""
        return generate_latest(self.registry)


def step_of(path: str) -> str:
    """The step of a protocol that a path is: a label, so it must be one of few."""
    return next((step for start, step in ROUTES if path.startswith(start)), OTHER)
