"""The exercise by hand: what to type in which terminal, and what to look for. The report and the walk both use it."""

from cloister.app.lab.program import DUMP_SCRIPT, EXPECTED_HASH, SECRET
from cloister.observe.report.record import Command

__all__ = ["commands"]


def commands() -> tuple[Command, ...]:
    """Every step, natively and then in the software enclave, from a directory that holds the exercise's files."""
    prepare = Command(
        terminal=1,
        text="cloister lab --interactive",
        expect="puts app.c, dumpmem.py and the compiled app into ./cloister-lab; go there in both terminals",
    )
    return (prepare, *_arm("./app", "native"), *_arm("cloister run ./app", "enclave"), *_traces())


def _arm(start: str, name: str) -> tuple[Command, ...]:
    found = f"{SECRET} is printed, once per copy" if name == "native" else "nothing is printed"
    return (
        Command(terminal=1, text=start, expect=f"type {SECRET} and Enter; it prints {EXPECTED_HASH} and waits"),
        Command(
            terminal=2,
            text="ps x | grep '[a]pp'",
            expect="the process id of the program; put it where PID stands below",
        ),
        Command(terminal=2, text=f"sudo python3 {DUMP_SCRIPT} PID > {name}.log", expect="reads every readable byte"),
        Command(terminal=2, text=f"grep -ao {SECRET} {name}.log", expect=found),
        Command(terminal=1, text="", expect="press Enter: the program ends"),
    )


def _traces() -> tuple[Command, ...]:
    return (
        Command(
            terminal=1,
            text="cloister trace -- ./app",
            expect=f'the read() that takes your input shows its bytes, "{SECRET}\\n"',
        ),
        Command(
            terminal=1,
            text="cloister trace -- cloister run ./app",
            expect="the same read() shows a pointer into memory that the tracer cannot read",
        ),
    )
