"""What is compared with what: each site with an ordinary directory, and the shield with each peer besides."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

from benchmarks.benchmark import Arm, Benchmark, Need, Quantity, Run, enclaved, native
from benchmarks.shield import databases, files, tls
from benchmarks.shield.sites import SITES

__all__ = ["NAMES", "PEERS", "subjects"]

PEERS = tuple(name for name in SITES if name not in {"native", "shielded"})


@dataclass(frozen=True, kw_only=True)
class Work:
    """What is measured on a site."""

    quantities: tuple[Quantity, ...]
    needs: tuple[Need, ...]
    measure: Callable[[Run], Mapping[str, float]]


WORKS = {
    "files": Work(quantities=files.QUANTITIES, needs=files.NEEDS, measure=files.measure),
    "sqlite": Work(quantities=databases.SQLITE, needs=databases.SQLITE_NEEDS, measure=databases.measure_sqlite),
    "postgres": Work(quantities=databases.POSTGRES, needs=databases.POSTGRES_NEEDS, measure=databases.measure_postgres),
}
NAMES = (*WORKS, "tls")


def subjects(names: Sequence[str], sites: Sequence[str]) -> list[Benchmark]:
    """The benchmarks of these names, for these sites: a table for each site."""
    found = []
    for site in sites:
        found += [against(work, name, "native", site) for name, work in WORKS.items() if name in names]
        if site == "shielded" and "tls" in names:
            found.append(against_tls(Arm(name="shielded", start=list)))
        if site == "enclaved" and "tls" in names:
            found.append(without_goals(against_tls(enclaved)))
        if site not in {"shielded", "enclaved"}:
            more = [against(work, name, site, "shielded") for name, work in WORKS.items() if name in names]
            found += map(without_goals, more)
    return found


def against(work: Work, name: str, baseline: str, candidate: str) -> Benchmark:
    """One site against another; goals are the shield's against an ordinary directory."""
    benchmark = Benchmark(
        name=f"{name}-{candidate}", quantities=work.quantities, needs=work.needs, measure=work.measure,
        baseline=Arm(name=baseline, start=list), candidate=Arm(name=candidate, start=list),
    )  # fmt: skip
    return benchmark if (baseline, candidate) == ("native", "shielded") else without_goals(benchmark)


def against_tls(candidate: Arm) -> Benchmark:
    """TLS of nginx itself, natively, against this."""
    return Benchmark(
        name=f"tls-{candidate.name}", quantities=tls.QUANTITIES, needs=tls.NEEDS, measure=tls.measure,
        baseline=native, candidate=candidate,
    )  # fmt: skip


def without_goals(benchmark: Benchmark) -> Benchmark:
    """The same, aimed at nothing."""
    return replace(benchmark, quantities=tuple(replace(one, goal=None) for one in benchmark.quantities))
