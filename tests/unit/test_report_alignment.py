"""Two traces side by side: no call is lost, order stays, and a call that carried the secret is never folded away."""

from hypothesis import given
from hypothesis import strategies as st

from cloister.observe.report.alignment import align
from cloister.observe.report.record import CallRecord


def call(name: str, *, secret: bool = False) -> CallRecord:
    """A call without arguments."""
    return CallRecord(name=name, text=f"{name}()", secret=secret)


CALLS = st.lists(
    st.builds(call, st.sampled_from(["read", "write", "mmap", "close"]), secret=st.booleans()), max_size=40
)


@given(native=CALLS, enclaved=CALLS)
def test_every_call_is_shown_once_and_in_order(native: list[CallRecord], enclaved: list[CallRecord]) -> None:
    rows = [row for stretch in align(native, enclaved) for row in stretch.rows]
    assert [row.native for row in rows if row.native is not None] == native
    assert [row.enclaved for row in rows if row.enclaved is not None] == enclaved


@given(native=CALLS, enclaved=CALLS)
def test_facing_calls_have_the_same_name(native: list[CallRecord], enclaved: list[CallRecord]) -> None:
    for stretch in align(native, enclaved):
        for row in stretch.rows:
            assert row.native is None or row.enclaved is None or row.native.name == row.enclaved.name


@given(native=CALLS, enclaved=CALLS)
def test_a_call_with_the_secret_is_in_plain_sight(native: list[CallRecord], enclaved: list[CallRecord]) -> None:
    for stretch in align(native, enclaved):
        if stretch.folded:
            assert not any(one.secret for row in stretch.rows for one in (row.native, row.enclaved) if one)


def test_a_long_one_sided_run_folds_and_says_what_it_holds() -> None:
    setup = [call("memfd_secret"), *(call("mmap") for _ in range(8))]
    first, folded, last = align([call("execve"), call("read")], [call("execve"), *setup, call("read")])
    assert (first.folded, folded.folded, last.folded) == (False, True, False)
    assert folded.summary == "9 calls only in the enclave: memfd_secret, mmap"
