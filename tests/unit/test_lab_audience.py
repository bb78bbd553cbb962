"""The table "who can still read this": what was observed is told apart from what is declared or was not tried."""

from cloister.adversaries import ADVERSARIES
from cloister.app.lab.audience import audience
from cloister.observe.report.record import Attempt, AudienceRow, Basis, Outcome


def attempt(adversary: str, tool: str, outcome: Outcome) -> Attempt:
    return Attempt(adversary=adversary, tool=tool, command="", outcome=outcome, detail="")


NATIVE = (attempt("user", "another user", Outcome.REFUSED), attempt("root", "gdb", Outcome.READ))
ENCLAVED = (attempt("user", "another user", Outcome.REFUSED), attempt("root", "gdb", Outcome.REFUSED))


def rows(*, as_root: bool) -> dict[str, AudienceRow]:
    keys = [adversary.key for adversary in ADVERSARIES]
    return dict(zip(keys, audience(NATIVE, ENCLAVED, as_root=as_root), strict=True))


def test_what_root_tried_is_observed() -> None:
    root = rows(as_root=True)["root"]
    assert (root.native.answer, root.native.basis) == ("reads", Basis.OBSERVED)
    assert (root.software_enclave.answer, root.software_enclave.basis) == ("stopped", Basis.OBSERVED)


def test_without_root_nothing_is_claimed_of_root() -> None:
    root = rows(as_root=False)["root"]
    assert root.native.basis is root.software_enclave.basis is Basis.NOT_TRIED
    assert "as root" in root.software_enclave.note


def test_the_same_user_reads_where_another_user_is_refused() -> None:
    user = rows(as_root=True)["user"].native
    assert user.answer == "reads"
    assert user.note == (
        "another user: 0 of 1 attempts got through; same user, who is root here: 1 of 1 attempts got through"
    )


def test_attaching_counts_as_reading() -> None:
    attached = (attempt("root", "ptrace", Outcome.ATTACHED), attempt("root", "gdb", Outcome.REFUSED))
    cell = audience(NATIVE, attached, as_root=True)[1].software_enclave
    assert (cell.answer, cell.note) == ("reads", "1 of 2 attempts got through (ptrace)")


def test_what_was_not_tried_is_no_observation() -> None:
    untried = (attempt("root", "gdb", Outcome.NOT_TRIED),)
    assert audience(untried, untried, as_root=True)[1].native.basis is Basis.NOT_TRIED


def test_kernel_physics_and_other_tees_stay_declarations() -> None:
    table = rows(as_root=True)
    for key in ("kernel", "physical"):
        assert table[key].software_enclave.basis is Basis.DECLARED
        assert table[key].software_enclave.answer == "reads"
    assert {row.hardware_tee.basis for row in table.values()} == {Basis.DECLARED}
