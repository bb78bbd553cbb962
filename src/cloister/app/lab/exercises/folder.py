"""An exercise's working folder: programs, sockets and DRAM of its machines; starting, asking and ending them."""

import contextlib
import json
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

from cloister import doctor
from cloister.app.lab.exercises.appraisal import changed_program, right_program, tried
from cloister.app.lab.exercises.catalogue import Exercise
from cloister.app.lab.exercises.grading import GRADERS, Demand
from cloister.app.lab.exercises.record import Record
from cloister.app.lab.exercises.room import Setting
from cloister.emulate.attacks.victims import FLAGS, SOURCE, compiled
from cloister.emulate.catalogue import kind_of
from cloister.emulate.control import ask
from cloister.errors import UsageError
from cloister.launch.command import RuntimeOptions, enclave_command

__all__ = ["Lab"]

STARTING: Final = 90.0
"""Seconds that machines may take until they answer: on a busy computer, keys of 4,096 bits are made first."""

ENDING: Final = 10.0
ATTESTED: Final = 7
"""The exercise with a policy."""


class Lab:
    """One exercise in its folder. Everything raises UsageError if that cannot work."""

    def __init__(self, exercise: Exercise, folder: Path) -> None:
        self.exercise, self.folder = exercise, folder
        self._started: list[subprocess.Popen[bytes]] = []

    def socket(self, machine: str) -> Path:
        """Where a machine answers."""
        return self.folder / f"{machine}.sock"

    def _log(self, machine: str) -> Path:
        """What a machine says when it cannot be started."""
        return self.folder / f"{machine}.log"

    @property
    def running(self) -> bool:
        """Whether all machines answer."""
        return all(self._answers(machine) for machine in self.exercise.machines)

    def _answers(self, machine: str) -> bool:
        if not self.socket(machine).exists():
            return False
        with contextlib.suppress(UsageError):
            ask(self.socket(machine), ["lab-events", "1000000"])
            return True
        return False

    # ---- start and end

    def start(self, *, keys: str, background: bool, outside: bool) -> str:
        """Make the folder and start the machines. Returns why they run outside the software enclave, or nothing."""
        if any(self._answers(machine) for machine in self.exercise.machines):
            raise UsageError(f"{self.folder}: this exercise is running; `cloister lab stop {self.exercise.number}`")
        self._make_folder()
        obstacle = "you asked for it" if outside else why_outside()
        try:
            for machine in self.exercise.machines:
                self._start(machine, keys=keys, background=background, outside=bool(obstacle))
            self._await()
        except BaseException:
            self.end()
            raise
        return obstacle

    def _make_folder(self) -> None:
        try:
            self.folder.mkdir(mode=0o700, exist_ok=True)
            self.folder.chmod(0o700)
            for machine in self.exercise.machines:
                self.socket(machine).unlink(missing_ok=True)
                architecture = kind_of(machine).architecture
                write_program(self.folder / f"app-{machine}", compiled(SOURCE, architecture, FLAGS))
            (self.folder / "victim.c").write_bytes(SOURCE.read_bytes())
            (self.folder / "exercise.md").write_text(self.text(), encoding="utf-8")
            if self.exercise.number == ATTESTED:
                write_program(self.folder / "app", right_program())
                write_program(self.folder / "other", changed_program())
        except OSError as error:
            raise UsageError(f"cannot make {error.filename or self.folder}: {error.strerror}") from error

    def _start(self, machine: str, *, keys: str, background: bool, outside: bool) -> None:
        setting = Setting(
            machine=machine,
            secret=self.exercise.secret,
            program=str((self.folder / f"app-{machine}").absolute()),
            socket=str(self.socket(machine).absolute()),
            dram=str((self.folder / f"{machine}.dram").absolute()),
            keys=keys,
            lifeline=not background,
        )
        words = [sys.executable, "-m", "cloister.app.lab.exercises.room", setting.words()]
        command = words if outside else enclave_command(words[0], words[1:], RuntimeOptions())
        lifeline = subprocess.DEVNULL if background else subprocess.PIPE
        with self._log(machine).open("wb") as log:
            self._started.append(subprocess.Popen(command, stdin=lifeline, stdout=subprocess.DEVNULL, stderr=log))

    def _await(self) -> None:
        deadline = time.monotonic() + STARTING
        waiting = dict(zip(self.exercise.machines, self._started, strict=True))
        while waiting:
            for machine, process in list(waiting.items()):
                if self._answers(machine):
                    del waiting[machine]
                elif process.poll() is not None:
                    why = self._log(machine).read_text(encoding="utf-8", errors="replace").strip()
                    raise UsageError(f"the {machine} machine could not be started: {why or process.returncode}")
            if waiting and time.monotonic() > deadline:
                raise UsageError(f"{', '.join(waiting)}: no answer within {STARTING:.0f} s")
            time.sleep(0.05)

    def wait(self) -> None:
        """Until all machines that this process started have ended."""
        for process in self._started:
            process.wait()

    def end(self) -> bool:
        """End the machines that run, and wipe their DRAM's files; whether there was any."""
        found = [machine for machine in self.exercise.machines if self._told_to_close(machine)]
        deadline = time.monotonic() + ENDING
        while any(self.socket(machine).exists() for machine in found) and time.monotonic() < deadline:
            time.sleep(0.02)
        for machine, process in zip(self.exercise.machines, self._started, strict=False):  # perhaps not all started
            if machine not in found:
                process.terminate()
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(ENDING)
            process.kill()
            process.wait()
        for machine in self.exercise.machines:
            (self.folder / f"{machine}.dram").unlink(missing_ok=True)
            self._log(machine).unlink(missing_ok=True)
        return bool(found)

    def _told_to_close(self, machine: str) -> bool:
        """Whether a machine heard that it is to end."""
        if not self.socket(machine).exists():
            return False
        with contextlib.suppress(UsageError):
            ask(self.socket(machine), ["lab-close"])
            return True
        return False

    # ---- while it runs

    def text(self) -> str:
        """What to do."""
        return self.exercise.text(str(self.folder))

    def say(self, machine: str, line: str) -> list[str]:
        """The owner types a line; what the program printed until it waits again, and how it ended, if it did."""
        if machine not in self.exercise.machines:
            raise UsageError(f"{machine}: this exercise's machines are {', '.join(self.exercise.machines)}")
        since = int(ask(self.socket(machine), ["lab-owner", line]))
        events = self._events(machine, since)["events"]
        printed = [str(event["text"]) for event in events if event["who"] == "program"]
        return printed + [f"(the program ended: {event['ended']})" for event in events if "ended" in event]

    def answer(self, text: str) -> bool:
        """Whether it is the first machine's secret. The machine remembers."""
        return ask(self.socket(self.exercise.machines[0]), ["lab-answer", text]) == "right"

    def demands(self, keys: str) -> Sequence[Demand]:
        """What the exercise demands, and what of it has happened, by what the machines recorded."""
        records = {
            machine: Record(machine, self._events(machine)["events"]) for machine in self.exercise.machines
        }  # fmt: skip
        found = [*GRADERS[self.exercise.number](records)]
        if self.exercise.number == ATTESTED:
            found += tried(self.folder, keys)
        return found

    def _events(self, machine: str, since: int = 0) -> dict[str, Any]:
        try:
            answer: dict[str, Any] = json.loads(ask(self.socket(machine), ["lab-events", str(since)]))
        except UsageError as error:
            raise UsageError(f"{error}; `cloister lab start {self.exercise.number}` starts the exercise") from error
        return answer

    def write_progress(self, demands: Sequence[Demand]) -> None:
        """For people and for `cloister lab list`. Nothing is graded by this file."""
        done = all(one.met for one in demands)
        progress = {"exercise": self.exercise.number, "done": done, "demands": [one._asdict() for one in demands]}
        with contextlib.suppress(OSError):
            (self.folder / "progress.json").write_text(json.dumps(progress, indent=2) + "\n", encoding="utf-8")

    def progress(self) -> str:
        """One word or two for a list."""
        if self.running:
            return "running"
        try:
            done = json.loads((self.folder / "progress.json").read_text(encoding="utf-8"))["done"] is True
        except (OSError, ValueError, KeyError, TypeError):
            return "not started" if not self.folder.exists() else "stopped"
        return "last check: done" if done else "last check: not yet"


def write_program(path: Path, data: bytes) -> None:
    """A file that can be run, whatever stood there before."""
    path.unlink(missing_ok=True)
    path.write_bytes(data)
    path.chmod(0o755)


def why_outside() -> str:
    """Why the software enclave cannot be used on this computer; nothing if it can."""
    return "; ".join(check.title for check in doctor.examine().obstacles)
