"""One machine of an exercise, as a process: the program, its owner, and a record of everything that happens.

    python -m cloister.app.lab.exercises.room '{"machine": "sev", ...}'

The owner's secret and the record are in this process's memory and nowhere else. The machine's administrator and the
owner speak to it on one socket; `cloister lab check` asks it there for what happened.
"""

import dataclasses
import json
import os
import signal
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from cloister.app.lab.exercises.secret import Secret, is_right, new_secret
from cloister.emulate.administration import Administrator
from cloister.emulate.catalogue import kind_of
from cloister.emulate.control import ControlSocket
from cloister.emulate.inside import Request, launched
from cloister.emulate.machine import Ending, Machine
from cloister.emulate.symbols import symbols_of
from cloister.emulate.terminal import sealed_terminal
from cloister.errors import CloisterError, UsageError
from cloister.measure.image import read_image

__all__ = ["Room", "Setting", "main"]

LETTERS: Final = "wdbrcoski"
"""What the owner may type to the program (victim.c); of these `s` and `k` take a line."""

LONG_LETTERS: Final = "sk"
MOST: Final = 20_000
"""Events that are kept."""

IDLE: Final = 4 * 3600
"""Seconds without anybody asking, after which the machine ends."""

PLACES: Final = ("secret", "balance", "riches", "walk", "bit_set", "bit_clear")


@dataclass(frozen=True, slots=True, kw_only=True)
class Setting:
    """What is set up: the machine's name, what kind of secret, and the paths of program, socket and DRAM.

    `lifeline`: whether standard input is a pipe whose end means that nobody needs the machine any longer.
    """

    machine: str
    secret: str
    program: str
    socket: str
    dram: str
    keys: str = ""
    lifeline: bool = False

    def words(self) -> str:
        """As the one argument that `main` reads."""
        return json.dumps(dataclasses.asdict(self))


class Room:
    """A machine, the owner who types, the administrator who tries things; `do` answers both."""

    def __init__(self, setting: Setting) -> None:
        data = Path(setting.program).read_bytes()
        self._setting, self._kind = setting, Secret(setting.secret)
        self._secret = new_secret(self._kind)
        self._typed = bytearray(b"s" + self._secret + b"\n")
        self._printed = bytearray()
        self._events: list[dict[str, Any]] = []
        self._saw = False
        self._faults = 0
        self._closing = False
        self._ending: Ending | None = None
        request = Request(tee=setting.machine, memory=32, frames=256, dram=setting.dram, keys=setting.keys)
        terminal = sealed_terminal(self._read, self._print)
        self._machine: Machine = launched(kind_of(setting.machine), request, read_image(data, "victim"), terminal)
        self._administrator = Administrator(self._machine, symbols_of(data))
        self._administrator.watch = self._watch
        self._control = ControlSocket(Path(setting.socket), self)

    def run(self) -> None:
        """Until the owner or the lab ends it. After the program's end the record can still be asked for."""
        try:
            self._machine.start(["victim"], {})
            ending = self._machine.run()
            self._note_faults()
            self._ending = ending
            self._typed.clear()
            why = ending.stopped or f"it ended by itself with status {ending.status}"
            self._note(who="machine", ended=why, stopped=bool(ending.stopped))
            self._wait()
        finally:
            self._control.close()
            self._machine.close()

    # ---- the owner's terminal

    def _read(self, size: int) -> bytes:
        """What the owner types next. Until then the caches drain into DRAM, and everybody is heard."""
        self._note_faults()
        if not self._typed:
            self._machine.settle()
            self._wait()
        given = bytes(self._typed[:size])
        del self._typed[:size]
        return given

    def _wait(self) -> None:
        lifeline = [0] if self._setting.lifeline else []
        if not self._control.serve_until(lambda: bool(self._typed) or self._closing, lifeline, patience=IDLE):
            self._closing = True
        if lifeline and not self._typed:
            self._closing = True  # the terminal in which it was started has gone

    def _print(self, data: bytes) -> None:
        self._printed += data
        while b"\n" in self._printed:
            line, _, rest = self._printed.partition(b"\n")
            self._printed = bytearray(rest)
            self._note(who="program", text=line.decode("latin-1"))

    # ---- the record

    def _note(self, **event: object) -> None:
        if len(self._events) < MOST:
            self._events.append(event)

    def _note_faults(self) -> None:
        """The page faults since the last look, by the symbols that the administrator traced."""
        new = self._administrator.traced_faults[self._faults :]
        self._faults += len(new)
        if new:
            self._note(who="host", faults=new)

    def _watch(self, page: bytes) -> None:
        self._saw = self._saw or self._secret in page

    # ---- what is asked

    def do(self, words: list[str]) -> str:
        """`lab-owner LINE`, `lab-events`, `lab-answer TEXT`, `lab-close`; anything else is the administrator's."""
        own = {
            "lab-owner": self._owner, "lab-events": self._tell, "lab-answer": self._answer, "lab-close": self._close,
        }  # fmt: skip
        if words and words[0] in own:
            return own[words[0]](" ".join(words[1:]))
        return self._administrate(words)

    def _owner(self, line: str) -> str:
        self._still_running()
        letter, rest = line[:1], line[1:]
        if line == "q":
            self._note(who="owner", text=line)
        elif not letter or letter not in LETTERS or (rest and letter not in LONG_LETTERS) or not line.isprintable():
            raise UsageError(f"the program knows {', '.join(LETTERS)} and q, and a line behind s and k; not {line!r}")
        else:
            self._note(who="owner", text=letter if letter == "s" else line)
        self._typed += line.encode() + b"\n"
        return str(len(self._events))

    def _tell(self, since: str) -> str:
        start = int(since) if since.isascii() and since.isdecimal() else 0
        return json.dumps({"machine": self._setting.machine, "events": self._events[start:]})

    def _answer(self, text: str) -> str:
        right = is_right(self._kind, self._secret, text)
        self._note(who="grader", right=right)
        return "right" if right else "wrong"

    def _close(self, _rest: str) -> str:
        self._closing = True
        return "closing"

    def _administrate(self, words: list[str]) -> str:
        self._still_running()
        self._saw = False
        before = self._administrator.traced_faults
        text = self._administrator.do(words)
        if self._administrator.traced_faults is not before:
            self._faults = 0
        refused = text.startswith(("refused: ", "machine check: "))
        places = [self._place(word) for word in words[1:]]
        self._note(who="administrator", words=words, places=places, refused=refused, secret=self._saw)
        return text

    def _place(self, word: str) -> str:
        """The name of the page that a word means, if it is one that matters."""
        try:
            meant = self._administrator.address(word)
            return next((name for name in PLACES if self._administrator.address(name) == meant), "")
        except UsageError:
            return ""

    def _still_running(self) -> None:
        if self._ending is not None:
            raise UsageError(f"the program has ended: {self._ending.stopped or 'its owner ended it'}")


def main(arguments: Sequence[str]) -> int:
    """Set a machine up and run it."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # whoever started it ends it
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    try:
        Room(Setting(**json.loads(arguments[0]))).run()
    except CloisterError as error:
        print(f"cloister lab: {error}", file=sys.stderr)  # noqa: T201 - this is a command
        return error.exit_code
    return os.EX_OK


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
