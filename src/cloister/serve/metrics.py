"""Counters for Prometheus, at /metrics. They name protocols, steps and statuses; never a session, secret or client.

Every worker process counts in a row of its own of one table, which all of them see: whoever is asked answers for all.
The row stays when its worker ends, so that counters never go back while the service runs.
"""

from bisect import bisect_left
from collections.abc import Iterator, MutableSequence, Sequence
from multiprocessing import get_context
from typing import Final

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.registry import Collector

__all__ = ["Metrics", "Rows", "shared_rows"]

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
    ("/cloister/v1/roots/", "root"),
    ("/admin/v1/", "admin"),
)
OTHER: Final = "other"
STEPS: Final = (*(step for _, step in ROUTES), OTHER)
NUMBER: Final = {step: number for number, step in enumerate(STEPS)}
STATUSES: Final = 600
"""0, where the client was gone before there was an answer, to 599."""
CRASHES, OPEN, CONNECTIONS, FIRST = 0, 1, 2, 3
SUM: Final = len(BUCKETS) + 1
"""Behind a step's counts by bucket: its seconds."""
TIMES: Final = FIRST + len(STEPS) * STATUSES
SIZE: Final = TIMES + len(STEPS) * (SUM + 1)

Rows = Sequence[MutableSequence[float]]


def shared_rows(workers: int) -> Rows:
    """A row for each worker; of several, in memory that processes forked later share."""
    if workers == 1:
        return [[0.0] * SIZE]
    return [get_context("fork").RawArray("d", SIZE) for _ in range(workers)]


class Metrics(Collector):
    """What one process counts, and what all of them have counted."""

    def __init__(self, rows: Rows | None = None, number: int = 0) -> None:
        self._rows = rows or shared_rows(1)
        self._mine = self._rows[number]
        self._mine[OPEN] = self._mine[CONNECTIONS] = 0  # of a predecessor that ended in the middle
        self.registry = CollectorRegistry()
        self.registry.register(self)

    def connected(self, count: int) -> bool:
        """So many connections are open here. Whether that is more than another worker has."""
        self._mine[CONNECTIONS] = count
        return count > min(row[CONNECTIONS] for row in self._rows)

    def begun(self) -> None:
        """One request more that is being answered."""
        self._mine[OPEN] += 1

    def answered(self, path: str, status: int, seconds: float) -> None:
        """Count one answer."""
        step, mine = NUMBER[step_of(path)], self._mine
        mine[OPEN] -= 1
        mine[FIRST + step * STATUSES + (status if status < STATUSES else 0)] += 1
        times = TIMES + step * (SUM + 1)
        mine[times + bisect_left(BUCKETS, seconds)] += 1
        mine[times + SUM] += seconds

    def crashed(self) -> None:
        """Count one failure of ours."""
        self._mine[CRASHES] += 1

    def text(self) -> bytes:
        """What Prometheus reads."""
        return generate_latest(self.registry)

    def collect(self) -> Iterator[Metric]:
        """The sums over all workers."""
        total = [sum(some) for some in zip(*self._rows, strict=True)]
        requests = CounterMetricFamily("cloister_requests", "Requests answered.", labels=("step", "status"))
        seconds = HistogramMetricFamily("cloister_request_seconds", "Time to answer.", labels=("step",))
        for number, step in enumerate(STEPS):
            first, times = FIRST + number * STATUSES, TIMES + number * (SUM + 1)
            for status, count in enumerate(total[first : first + STATUSES]):
                if count:
                    requests.add_metric((step, str(status)), count)
            if any(total[times : times + SUM]):
                seconds.add_metric((step,), cumulated(total[times : times + SUM]), total[times + SUM])
        yield requests
        yield seconds
        yield CounterMetricFamily("cloister_crashes", "Requests at which Cloister failed.", value=total[CRASHES])
        yield GaugeMetricFamily("cloister_connections", "Open connections.", value=total[CONNECTIONS])
        yield GaugeMetricFamily("cloister_requests_open", "Requests being answered.", value=total[OPEN])


def cumulated(counts: Sequence[float]) -> list[tuple[str, float]]:
    """Buckets as Prometheus has them: each with all that is in the smaller ones."""
    bounds = [*map(str, BUCKETS), "+Inf"]
    return [(bound, sum(counts[: number + 1])) for number, bound in enumerate(bounds)]


def step_of(path: str) -> str:
    """The step of a protocol that a path is: a label, so it must be one of few."""
    return next((step for start, step in ROUTES if path.startswith(start)), OTHER)
