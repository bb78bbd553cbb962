"""The prover's side of tracing: starts the tracing process, keeps what it reports, and judges whether it saw all."""

import json
import os
import subprocess
import sys
import threading
from dataclasses import dataclass, field
from typing import IO, Any

from cloister.observe.prove.grounds.gate import Gate
from cloister.observe.prove.plan import ArmName, GroundName
from cloister.observe.prove.record import Check, Ground
from cloister.observe.prove.secret import Secret
from cloister.quantities import counted

__all__ = ["CallHit", "Traces"]

PROBE = "probe"
PROBE_SECONDS = 10.0
END_SECONDS = 20.0
CODE = "from cloister.observe.prove.grounds.tracer import main; main()"


@dataclass(frozen=True, kw_only=True)
class CallHit:
    """A labelled secret seen in a system call."""

    label: str
    encoding: str
    pid: int
    where: str


@dataclass(kw_only=True)
class Traces:
    """Traces one arm. `arm` decides how: what is natively traced with ptrace(2) is enclaved with tracepoints."""

    arm: ArmName
    secrets: tuple[Secret, ...]
    probe: Secret = field(default_factory=lambda: Secret.fresh(PROBE))
    hits: list[CallHit] = field(default_factory=list)
    trouble: str = ""
    ended: dict[str, Any] = field(default_factory=dict)
    seen: bool = False
    process: subprocess.Popen[str] | None = None

    def gate(self) -> Gate:
        """Where the program waits for `follow`."""
        return Gate.make(self.probe.value)

    def start(self) -> None:
        """Start the tracing process, before the program: what is there from before is not of the program's family."""
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}
        self.process = subprocess.Popen(
            [sys.executable, "-c", CODE],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=environment,
            start_new_session=True,
        )
        self.thread = threading.Thread(target=self.listen, args=(self.process.stdout,), name="prove-trace", daemon=True)
        self.thread.start()

    def follow(self, pid: int, gate: Gate) -> None:
        """Trace `pid`, which waits at the gate, and let it go."""
        order = {
            "pid": pid,
            "engine": "tracepoints" if self.arm is ArmName.ENCLAVED else None,
            "secrets": {secret.label: secret.text for secret in (*self.secrets, self.probe)},
        }
        try:
            self.order(json.dumps(order))
        except OSError as error:
            self.trouble = f"the tracing process takes no order: {error.strerror}"
        gate.open(self.decided, PROBE_SECONDS)
        if not self.seen:
            self.trouble = self.trouble or f"the tracer did not see a probe within {PROBE_SECONDS:g} s"

    def order(self, text: str) -> None:
        """Tell the tracing process what to do. OSError when it has ended."""
        if self.process is not None and self.process.stdin is not None:
            self.process.stdin.write(text + "\n")
            self.process.stdin.flush()

    def decided(self) -> bool:
        """Whether the tracer sees what it has to see, or will not."""
        return self.seen or bool(self.trouble) or self.process is None or self.process.poll() is not None

    def listen(self, lines: IO[str]) -> None:
        """Take in what the tracing process reports."""
        for line in lines:
            said = json.loads(line)
            if said["kind"] == "end":
                self.ended = said
            elif said["kind"] == "failed":
                self.trouble = said["reason"]
            elif said["label"] == PROBE:
                self.seen = True
            else:
                where = said["call"] + (f" on {said['channel']}" if said["channel"] else "")
                self.hits.append(CallHit(label=said["label"], encoding=said["encoding"], pid=said["pid"], where=where))

    def finish(self) -> None:
        """The program has ended: so does the tracing process, by itself or told to."""
        if self.process is None or self.process.stdin is None:
            return
        try:
            self.process.wait(END_SECONDS)
        except subprocess.TimeoutExpired:
            self.process.stdin.close()  # something that it follows goes on
            self.trouble = self.trouble or "a process of the program went on after its end"
            self.close()
        self.thread.join(END_SECONDS)
        if not self.ended:
            self.trouble = self.trouble or f"the tracing process ended with status {self.process.returncode}"

    def close(self) -> None:
        """End the tracing process."""
        if self.process is None or self.process.stdin is None:
            return
        self.process.stdin.close()
        try:
            self.process.wait(END_SECONDS)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        self.thread.join(END_SECONDS)
        if self.process.stdout is not None:
            self.process.stdout.close()

    def report(self) -> Ground:
        """What was looked at."""
        if self.trouble or not self.ended:
            whole = Check(holds=False, detail=self.trouble or "nothing was traced")
            return Ground(name=GroundName.TRACES, amount="nothing", whole=whole)
        said = self.ended
        amount = (
            f"{counted(said['size'], 'byte')} in {counted(said['calls'], 'call')} of"
            f" {counted(said['processes'], 'process', 'processes')} ({said['engine']})"
        )
        doubts = unsearched(said)
        whole = Check(holds=not doubts, detail="; ".join(doubts) or f"{amount}; the probe was seen")
        unread = [f"{counted(count, 'argument')} not looked at: {why}" for why, count in said["unreadable"].items()]
        unread += [f"{in_words(item)}: they come from files" for item in said["unsearched"] if not item[3]]
        return Ground(name=GroundName.TRACES, amount=amount, whole=whole, seen=(*unread, *said["notes"]))


def unsearched(said: dict[str, Any]) -> list[str]:
    """What the trace did not see, in words; empty if it saw all that passed."""
    doubts = [] if said["complete"] else ["the kernel dropped events, so that calls are missing"]
    return doubts + [in_words(item) for item in said["unsearched"] if item[3]]


def in_words(item: list[Any]) -> str:
    """One kind of thing that passed unseen."""
    what, amount, names, _ = item
    return f"{amount:,} {what} were not looked at ({', '.join(names)})"
