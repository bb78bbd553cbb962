"""`cloister lab list | start | say | hint | check | stop`: the exercises on emulated machines."""

import argparse
import os
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Final

from cloister.app.lab.exercises.catalogue import EXERCISES, exercise_of
from cloister.app.lab.exercises.folder import Lab
from cloister.app.lab.exercises.grading import Demand
from cloister.errors import UsageError

__all__ = ["ACTIONS", "run"]

NOT_YET: Final = 10


def run(args: argparse.Namespace) -> int:
    """Do one action, and return its exit code."""
    if args.answer is not None and args.action != "check":
        raise UsageError("--answer belongs to `cloister lab check`")
    return ACTIONS[args.action](args)


def lab_of(args: argparse.Namespace) -> Lab:
    """The exercise that the first word names. UsageError."""
    if not args.words:
        raise UsageError(f"{args.action} takes the exercise's number, such as `cloister lab {args.action} 1`")
    exercise = exercise_of(args.words[0])
    return Lab(exercise, args.folder or Path(exercise.folder))


def only_number(args: argparse.Namespace) -> Lab:
    """The same where nothing else may follow."""
    lab = lab_of(args)
    if len(args.words) > 1:
        raise UsageError(f"{args.action} takes nothing behind the exercise's number, not {' '.join(args.words[1:])!r}")
    return lab


def list_exercises(args: argparse.Namespace) -> int:
    """All exercises, their machines, and how far they are in this directory."""
    if args.words or args.folder:
        raise UsageError("list takes no other words")
    for exercise in EXERCISES.values():
        machines = ", ".join(exercise.machines)
        print(
            f"{exercise.number}  {exercise.title:<38} {machines:<16} {Lab(exercise, Path(exercise.folder)).progress()}"
        )
    return 0


def start(args: argparse.Namespace) -> int:
    """Start the machines, show what to do, and let the owner type, until there is no more to type."""
    lab, number = only_number(args), args.words[0]
    say(f"compiling the program, starting {' and '.join(lab.exercise.machines)} ...")
    obstacle = lab.start(
        keys=os.path.abspath(args.keys) if args.keys else "",  # noqa: PTH100 - an option's text, resolved for another process
        background=args.background,
        outside=args.unsafe_outside,
    )
    print(f"\n{lab.text()}\n{how_to(lab, number)}", flush=True)
    if obstacle:
        say(f"note: the machines run outside the software enclave ({obstacle}): root can read their keys")
    if not args.background:
        talk(lab)
    return 0


def how_to(lab: Lab, number: str) -> str:
    """The commands, below the exercise's text."""
    where = f" --folder {lab.folder}" if str(lab.folder) != lab.exercise.folder else ""
    lines = [f"  cloister host {lab.socket(machine)} help" for machine in lab.exercise.machines]
    lines += [
        f"  cloister lab say {number} {lab.exercise.machines[0]} b{where}      the owner's words: b w d c o r i",
        f"  cloister lab check {number}{where}",
        f"  cloister lab hint {number}{where}",
        f"  cloister lab stop {number}{where}",
    ]
    return "\n".join(["The machines are running. In another terminal:", *lines])


def talk(lab: Lab) -> None:
    """This terminal is the owner's: `MACHINE WORDS` are typed to that machine's program."""
    examples = " or ".join(f"`{name} b`" for name in lab.exercise.machines)
    say(f"\nThis terminal is the owner's. Type {examples}; `stop` ends the exercise.")
    try:
        for line in sys.stdin:
            if line.strip() == "stop":
                lab.end()
                return
            if line.strip():
                converse(lab, line.strip())
        lab.wait()
    except KeyboardInterrupt:
        lab.end()


def converse(lab: Lab, line: str) -> None:
    """One line of the owner, and what the program answers. What cannot be typed is said, and nothing ends."""
    machine, _, words = line.partition(" ")
    try:
        print("\n".join(lab.say(machine, words)), flush=True)
    except UsageError as error:
        say(f"cloister lab: {error}")


def say_line(args: argparse.Namespace) -> int:
    """The owner types, from any terminal."""
    lab = lab_of(args)
    if len(args.words) < 3:
        raise UsageError("say takes exercise, machine and words, such as `cloister lab say 3 sev w`")
    print("\n".join(lab.say(args.words[1], " ".join(args.words[2:]))))
    return 0


def hint(args: argparse.Namespace) -> int:
    """One hint; the next one for who asks for it."""
    lab = lab_of(args)
    word = args.words[1] if len(args.words) > 1 else "1"
    hints = lab.exercise.hints(str(lab.folder))
    if not (word.isascii() and word.isdecimal() and len(word) < 3) or not 1 <= int(word) <= len(hints):
        raise UsageError(f"exercise {lab.exercise.number} has the hints 1 to {len(hints)}")
    number = int(word)
    print(f"{number} of {len(hints)}: {hints[number - 1]}")
    if number < len(hints):
        print(f"The next: cloister lab hint {lab.exercise.number} {number + 1}")
    return 0


def check(args: argparse.Namespace) -> int:
    """Grade by what happened."""
    lab = only_number(args)
    if args.answer is not None:
        print("The answer is right." if lab.answer(args.answer) else "The answer is wrong.")
    demands = lab.demands(args.keys or "")
    lab.write_progress(demands)
    print("\n".join(demand_text(one) for one in demands))
    missing = sum(not one.met for one in demands)
    print("Done." if not missing else f"Not yet: {missing} of {len(demands)} missing.")
    return NOT_YET if missing else 0


def demand_text(one: Demand) -> str:
    """One line, and what is known of why not."""
    why = f"\n       {one.remark}" if one.remark and not one.met else ""
    return f"  [{'x' if one.met else ' '}] {one.text}{why}"


def stop(args: argparse.Namespace) -> int:
    """End the machines; the folder stays."""
    lab = only_number(args)
    say("stopped" if lab.end() else "no machine of this exercise was running")
    return 0


def say(text: str) -> None:
    """Prose, on standard error."""
    print(text, file=sys.stderr, flush=True)


ACTIONS: Final[Mapping[str, Callable[[argparse.Namespace], int]]] = {
    "list": list_exercises, "start": start, "say": say_line, "hint": hint, "check": check, "stop": stop,
}  # fmt: skip
