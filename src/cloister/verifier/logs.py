"""Event logs that came with a TDX quote, against its RTMRs, in either of the forms in which they travel."""

from dataclasses import dataclass
from typing import Final

from cloister.errors import ParseError
from cloister.evidence import eventlog, eventlog_dstack
from cloister.evidence.tdx import TdxQuote
from cloister.model import Unchecked
from cloister.verification.eventlog import CC_REGISTERS, check_replay
from cloister.verification.eventlog_dstack import check_replay as check_dstack
from cloister.verification.recipe import Check, Outcome, Recipe

__all__ = ["RECIPE", "check_log"]


@dataclass(slots=True)
class Case:
    """A log while it is being checked; without a quote there is nothing to check it against."""

    log: bytes
    quote: TdxQuote | None


RECIPE: Final = Recipe[Case]("LOG")


@RECIPE.step(
    "Event log gives the signed registers",
    source="TCG PC Client Platform Firmware Profile, section 10; Intel TDX Virtual Firmware Design Guide, section 8",
    fix="hand over the complete log of this boot, as it was when the quote was made",
    cost="the log could say that anything was booted",
)
def replayed(case: Case) -> Outcome:
    """Extend what the log says and compare; a log in no known form is not checked, and listed so."""
    if case.quote is None:
        return Unchecked("an event log came along, but no quote whose registers it could explain")
    registers = [getattr(case.quote.body, f"rtmr{index}") for index in range(4)]
    try:
        if eventlog_dstack.looks_like(case.log):
            return check_dstack(eventlog_dstack.parse(case.log), dict(enumerate(registers)))
        log = eventlog.parse(case.log)
    except ParseError as error:
        return Unchecked(f"the event log that came along is not understood: {error}")
    return check_replay(log, dict(enumerate(registers, 1)), "sha384", index_names=CC_REGISTERS)


def check_log(log: bytes, quote: TdxQuote | None) -> Check:
    """The check of one log; BindingInvalid, with it, if the log is not what was measured."""
    return RECIPE.explain(RECIPE.follow(Case(log, quote)))[0]
