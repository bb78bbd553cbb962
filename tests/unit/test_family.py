from cloister.observe.family import GUARD_COMM, Member, Status, family_among


def status(pid: int, parent: int, *, tracer: int = 0, comm: str = "sh") -> Status:
    return Status(pid=pid, comm=comm, parent=parent, tracer=tracer)


def roles(pid: int, *statuses: Status) -> dict[int, str]:
    return {member.pid: member.role for member in family_among(pid, {one.pid: one for one in statuses})}


def test_missing_process_has_no_family() -> None:
    assert not roles(7, status(1, 0))


def test_descendants_without_relatives_of_others() -> None:
    found = roles(10, status(1, 0), status(10, 1), status(11, 10), status(12, 11), status(13, 1))
    assert found == {10: "program", 11: "descendant", 12: "descendant"}


def test_both_guards_are_found_through_their_tracers() -> None:
    guards = (status(20, 1, tracer=21, comm=GUARD_COMM), status(21, 1, tracer=20, comm=GUARD_COMM))
    assert roles(10, status(10, 1, tracer=20), *guards) == {10: "program", 20: "guard", 21: "guard"}


def test_orphan_belongs_by_its_guard() -> None:
    guard = status(20, 1, comm=GUARD_COMM)
    orphan, child = status(30, 1, tracer=20), status(31, 30)
    assert roles(10, status(10, 1, tracer=20), guard, orphan, child) == {
        10: "program",
        20: "guard",
        30: "descendant",
        31: "descendant",
    }


def test_another_tracer_is_no_guard() -> None:
    tracer = status(20, 1, comm="strace")
    assert roles(10, status(10, 1, tracer=20), tracer, status(30, 1, tracer=20)) == {10: "program"}


def test_program_comes_first() -> None:
    members = family_among(10, {10: status(10, 1), 5: status(5, 10)})
    assert members[0] == Member(pid=10, comm="sh", role="program")
