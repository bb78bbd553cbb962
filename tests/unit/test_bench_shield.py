"""The benchmark of shields: every row has its site, goals are the shield's against an ordinary directory only."""

from pathlib import Path

import pytest
from benchmarks.benchmark import Arm, NotMeasured, Run
from benchmarks.shield import files, tls
from benchmarks.shield.sites import SITES, at
from benchmarks.shield.subjects import NAMES, PEERS, subjects


def test_what_is_compared() -> None:
    found = subjects(NAMES, ["shielded", *PEERS])
    pairs = {(one.baseline.name, one.candidate.name) for one in found}
    assert ("native", "shielded") in pairs
    assert {("native", peer) for peer in PEERS} <= pairs
    assert {(peer, "shielded") for peer in PEERS if peer != "enclaved"} <= pairs
    assert {name for pair in pairs for name in pair} <= set(SITES)
    for one in found:
        aimed = [quantity.goal is not None for quantity in one.quantities]
        assert any(aimed) == ((one.baseline.name, one.candidate.name) == ("native", "shielded"))


def test_files_are_measured_natively(tmp_path: Path) -> None:
    numbers = files.measure(Run(arm=Arm(name="native", start=list), scratch=tmp_path, load_seconds=0.02))
    assert numbers.keys() == {one.key for one in files.QUANTITIES}
    assert all(number > 0 for number in numbers.values())
    assert [path.name for path in tmp_path.iterdir()] == ["files"], "the site is gone afterwards"


def test_a_site_that_fails_is_taken_down(tmp_path: Path) -> None:
    def work() -> None:
        with at("native", tmp_path) as site:
            (site.directory / "left").touch()
            raise NotMeasured("no")

    with pytest.raises(NotMeasured):
        work()
    assert list(tmp_path.iterdir()) == []


def test_tls_is_measured_against_nginx_itself() -> None:
    (one,) = subjects(["tls"], ["shielded"])
    assert one.quantities == tls.QUANTITIES
    assert (one.baseline.name, one.candidate.name) == ("native", "shielded")
