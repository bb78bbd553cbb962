"""The battery's logic without any attack: verdicts, exit codes, the computed table of readers, both renderings."""

import itertools
import json
import re
from pathlib import Path

import pytest

from cloister.adversaries import ADVERSARIES
from cloister.app.battery.attack import Attack, Attempt, NotTried, Reader, deception, failed, succeeded
from cloister.app.battery.battery import ATTACKS, attacks_named, tried
from cloister.app.battery.cores import kept_setting
from cloister.app.battery.paging import can_hibernate
from cloister.app.battery.render import as_html, as_json, as_text
from cloister.app.battery.target import Arena, Setting
from cloister.app.battery.verdict import Finding, Outcome, exit_code, judge, readers
from cloister.errors import UsageError

YES, NO = succeeded("got it"), failed("refused")
SKIPPED, BROKEN = Attempt(worked=None, detail="why"), Attempt(worked=None, detail="broke", broken=True)


def attack(name: str = "one", *, reader: Reader = "root", declared: str = "") -> Attack:
    return Attack(name=name, what="what", source="source(2)", run=lambda _: YES, reader=reader, declared=declared)


@pytest.mark.parametrize(
    ("native", "enclaved", "outcome"),
    [
        (YES, NO, Outcome.STOPPED),
        (YES, YES, Outcome.LEAKED),
        (NO, NO, Outcome.INCONCLUSIVE),
        (NO, YES, Outcome.LEAKED),
        (BROKEN, YES, Outcome.LEAKED),
        (BROKEN, NO, Outcome.INCONCLUSIVE),
        (YES, BROKEN, Outcome.INCONCLUSIVE),
        (NO, BROKEN, Outcome.INCONCLUSIVE),
        (YES, SKIPPED, Outcome.NOT_TRIED),
        (SKIPPED, None, Outcome.NOT_TRIED),
    ],
)
def test_verdicts(native: Attempt, enclaved: Attempt | None, outcome: Outcome) -> None:
    assert judge(attack(), native, enclaved).outcome is outcome


def test_stopped_is_said_only_where_it_worked_natively_and_failed_in_the_enclave() -> None:
    for native, enclaved in itertools.product((YES, NO, SKIPPED, BROKEN), (YES, NO, SKIPPED, BROKEN, None)):
        said = judge(attack(), native, enclaved).outcome is Outcome.STOPPED
        assert said is (native is YES and enclaved is NO)


@pytest.mark.parametrize("how", [{"declared": "a hole"}, {"reader": "kernel"}, {"reader": "physical"}])
def test_declared_holes_are_never_called_stopped(how: dict[str, str]) -> None:
    known = attack(**how)  # type: ignore[arg-type]
    assert judge(known, YES, YES).outcome is Outcome.DECLARED
    assert judge(known, YES, NO).outcome is Outcome.NOT_SEEN


def found(*outcomes: tuple[Attempt, Attempt | None]) -> list[Finding]:
    return [judge(attack(f"a{number}"), *pair) for number, pair in enumerate(outcomes)]


def test_exit_codes() -> None:
    assert exit_code(found((YES, NO))) == 0
    assert exit_code([judge(attack(declared="a hole"), YES, YES)]) == 0
    assert exit_code(found((YES, NO), (SKIPPED, None))) == 0
    assert exit_code(found((YES, NO), (NO, NO), (YES, YES))) == 10
    assert exit_code(found((YES, NO), (NO, NO))) == 16
    assert exit_code(found((SKIPPED, None))) == 16, "nothing tried is nothing shown"
    assert exit_code([]) == 16


def test_settings_are_put_back_whatever_happens(tmp_path: Path) -> None:
    setting = tmp_path / "setting"
    setting.write_text("0\n")

    def changed(value: str) -> None:
        with kept_setting(setting, value):
            assert setting.read_text() == value
            raise ValueError

    with pytest.raises(ValueError):  # noqa: PT011  raised above
        changed("1")
    assert setting.read_text() == "0\n"
    with pytest.raises(NotTried, match="cannot be changed"), kept_setting(tmp_path / "none", "1"):
        pytest.fail("an attack must not run with a setting that could not be made")


@pytest.mark.parametrize(("text", "answer"), [("[disabled]\n", False), ("[platform] shutdown\n", True)])
def test_hibernation_is_what_the_kernel_says(tmp_path: Path, text: str, *, answer: bool) -> None:
    assert not can_hibernate(tmp_path / "disk")
    (tmp_path / "disk").write_text(text)
    assert can_hibernate(tmp_path / "disk") is answer


def test_the_table_of_readers_is_computed() -> None:
    findings = [*found((YES, NO), (YES, YES)), judge(attack("perf", reader="kernel"), YES, YES)]
    rows = {row.adversary.key: row for row in readers(findings)}
    assert list(rows) == [one.key for one in ADVERSARIES]
    assert rows["root"].enclaved == "READS: a1; 1 stopped"
    assert rows["root"].native == "reads (2 attacks)"
    assert rows["kernel"].enclaved == "reads, as declared: perf"
    assert rows["physical"].enclaved == rows["user"].enclaved == "not tried"
    assert readers(findings, "user")[0].enclaved == "READS: a1; 1 stopped"


def test_deceiving_is_not_reading() -> None:
    back = deception("back", "what", "source(2)", lambda _: YES, declared="nobody keeps its root")
    (row,) = (one for one in readers([*found((YES, NO)), judge(back, YES, YES)]) if one.adversary.key == "root")
    assert row.native == "reads (1 attack); deceives (1 attack)"
    assert row.enclaved == "deceives, as declared: back; 1 stopped"
    (row,) = (
        one for one in readers([judge(deception("b", "", "", lambda _: YES), YES, YES)]) if one.native != "not tried"
    )
    assert row.enclaved == "DECEIVES: b"


def test_what_still_works_comes_before_what_was_stopped() -> None:
    known = judge(attack("pipe", declared="descriptors"), YES, YES)
    unseen = judge(attack("race", declared="a race"), YES, NO)
    cell = readers([*found((YES, NO), (YES, YES)), known, unseen])[1].enclaved
    assert cell == "READS: a1; reads, as declared: pipe; declared, not seen now: race; 1 stopped"


def test_attacks_of_the_programs_own_user_have_their_row() -> None:
    rows = readers([judge(attack("mine", reader="user"), YES, NO)])
    assert [row.enclaved for row in rows] == ["1 stopped", "not tried", "not tried", "not tried"]


def test_all_renderings_say_the_same() -> None:
    findings = [*found((YES, NO), (YES, YES), (NO, NO), (SKIPPED, None)), judge(attack("k", reader="kernel"), YES, YES)]
    page = as_html(findings, "root")
    for one in findings:
        row = page.split(f'<tr id="{one.attack.name}">')[1].split("</tr>")[0]
        assert f">{one.outcome}</span>" in row
    assert all(f"<td>{row.enclaved}</td>" in page for row in readers(findings))
    assert "Something leaked that is not declared" in page
    document = json.loads(json.dumps(as_json(findings, "root")))
    text = as_text(findings, "root")
    for one in document["attacks"]:
        line = next(line for line in text.splitlines() if line.startswith(one["name"]))
        assert f"  {one['outcome']}" in line
    assert document["exit_code"] == 10


def test_a_page_escapes_what_a_program_said() -> None:
    page = as_html([judge(attack("one"), YES, failed("<script>alert(1)</script>"))], "root")
    assert "<script" not in page
    assert "&lt;script&gt;" in page
    assert "Nothing leaked but what is declared" in page


def test_every_attack_can_be_told_apart_and_looked_up() -> None:
    assert len(ATTACKS) > 80
    assert all(one.what and one.source for one in ATTACKS.values())
    assert {one.reader for one in ATTACKS.values()} <= {one.key for one in ADVERSARIES}
    assert attacks_named([]) == tuple(ATTACKS.values())
    with pytest.raises(UsageError, match="shouting"):
        attacks_named(["shouting"])


def test_the_security_page_names_every_attack_and_no_other() -> None:
    page = (Path(__file__).parents[2] / "SECURITY.md").read_text()
    named = set(re.findall(r"`attack:([\w-]+)`", page)) - {"NAME"}
    assert named <= set(ATTACKS)
    read_nothing_and_are_not_tried = {"hot-unplug", "kcmp", "userfaultfd", "user-namespace"}
    assert set(ATTACKS) - named == read_nothing_and_are_not_tried


def arena(tmp_path: object, *, enclaved: bool) -> Arena:
    return Arena(setting=Setting(), enclaved=enclaved, directory=tmp_path)  # type: ignore[arg-type]


def test_an_attack_that_breaks_is_no_success_and_no_failure(tmp_path: object) -> None:
    def breaks(where: Arena) -> Attempt:
        if where.enclaved:
            raise OSError(5, "a mistake of the battery's")
        return YES

    one = Attack(name="one", what="what", source="source(2)", run=breaks)
    finding = tried(one, arena(tmp_path, enclaved=False), arena(tmp_path, enclaved=True))
    assert finding.outcome is Outcome.INCONCLUSIVE
    assert "mistake" in (finding.enclaved or finding.native).detail


def test_what_was_not_tried_natively_is_not_tried_in_the_enclave(tmp_path: object) -> None:
    def absent(where: Arena) -> Attempt:
        assert not where.enclaved
        raise NotTried("no such tool")

    one = Attack(name="one", what="what", source="source(2)", run=absent)
    finding = tried(one, arena(tmp_path, enclaved=False), arena(tmp_path, enclaved=True))
    assert (finding.outcome, finding.native.detail) == (Outcome.NOT_TRIED, "no such tool")
