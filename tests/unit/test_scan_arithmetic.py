from cloister.observe.findings import Absent, Coverage, Reason, Scan
from cloister.observe.maps import Mapping
from cloister.observe.scan import without


def mapping(start: int, end: int) -> Mapping:
    return Mapping(start=start, end=end, permissions="rw-p", offset=start, path="/f")


def spans(mappings: list[Mapping], done: list[Mapping]) -> list[tuple[int, int]]:
    return [(one.start, one.end) for one in without(mappings, done)]


def test_without() -> None:
    assert spans([mapping(0, 10), mapping(20, 30)], []) == [(0, 10), (20, 30)]
    assert not spans([mapping(0, 10)], [mapping(0, 10)])
    assert spans([mapping(0, 30)], [mapping(5, 10), mapping(20, 25)]) == [(0, 5), (10, 20), (25, 30)]
    assert spans([mapping(0, 8), mapping(8, 20)], [mapping(4, 12)]) == [(0, 4), (12, 20)]


def test_parts_keep_their_offset() -> None:
    (part,) = without([mapping(100, 130)], [mapping(90, 120)])
    assert (part.start, part.offset) == (120, 120)


def test_scans_add_up() -> None:
    one = Scan(coverage=Coverage(read_bytes=5), absences=(Absent(where="a", reason=Reason.SECRET, size=7),))
    two = Scan(coverage=Coverage(read_bytes=6), absences=(Absent(where="b", reason=Reason.SECRET, size=1),))
    both = one.merge(two)
    assert both.coverage.read_bytes == 11
    assert both.unreadable_by_reason() == {Reason.SECRET: 8}
    assert both == Scan.merge(one, two)


def test_what_leaves_doubt() -> None:
    scan = Scan(absences=tuple(Absent(where=reason.name, reason=reason) for reason in Reason))
    assert {absent.where for absent in scan.doubts} == {"DENIED", "GONE", "TOO_LARGE", "FAILED"}
