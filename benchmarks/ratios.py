"""The statistics: pairs of measurements become a speed ratio and its spread."""

import statistics
from collections.abc import Sequence
from dataclasses import dataclass

from benchmarks.benchmark import Better

__all__ = ["Pair", "Summary", "speed_ratio", "summarise"]


@dataclass(frozen=True, kw_only=True)
class Pair:
    """Two measurements of one quantity, taken one right after the other. Same unit, both above zero."""

    baseline: float
    candidate: float


@dataclass(frozen=True, kw_only=True)
class Summary:
    """What a table says about a quantity.

    `baseline` and `candidate` are medians in the quantity's unit. The five ratios (speed of the candidate as a
    fraction of the baseline's) are order statistics of the ratios of single pairs, so that what slows both
    halves of a pair alike cancels; `ratio` is their median and need not be the ratio of the two medians. `extra`
    is the median of what the candidate measured more than the baseline, in the quantity's unit.
    """

    baseline: float
    candidate: float
    extra: float
    lowest: float
    lower_quartile: float
    ratio: float
    upper_quartile: float
    highest: float
    pairs: int


def speed_ratio(pair: Pair, better: Better) -> float:
    """Speed of the candidate divided by speed of the baseline: above 1, the candidate is faster.

    Raises ValueError when a measurement is not above zero, which no clock or counter here can rightly say.
    """
    if not (pair.baseline > 0 and pair.candidate > 0):
        raise ValueError(f"a measurement must be above zero, not {pair.baseline} and {pair.candidate}")
    if better is Better.MORE:
        return pair.candidate / pair.baseline
    return pair.baseline / pair.candidate


def summarise(pairs: Sequence[Pair], better: Better) -> Summary:
    """Medians, and the spread of the ratios. Quartiles interpolate between neighbours ("inclusive": R's type 7).

    A single pair has no spread: all five ratios are the same. Raises ValueError without pairs.
    """
    if not pairs:
        raise ValueError("nothing to summarise: no pair was measured")
    ratios = [speed_ratio(pair, better) for pair in pairs]
    quartiles = statistics.quantiles(ratios, n=4, method="inclusive") if len(ratios) > 1 else ratios * 3
    return Summary(
        baseline=statistics.median(pair.baseline for pair in pairs),
        candidate=statistics.median(pair.candidate for pair in pairs),
        extra=statistics.median(pair.candidate - pair.baseline for pair in pairs),
        lowest=min(ratios),
        lower_quartile=quartiles[0],
        ratio=quartiles[1],
        upper_quartile=quartiles[2],
        highest=max(ratios),
        pairs=len(ratios),
    )
