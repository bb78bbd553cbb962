"""Attacks on what a person types and reads at a program's console, by the host that carries it."""

from collections.abc import Callable

from cloister.app.battery.attack import Attack, Attempt, deception, failed, succeeded
from cloister.app.battery.following import found_by, tracer
from cloister.app.battery.talking import Talk, talk
from cloister.app.battery.target import Arena
from cloister.observe.prove.secret import Secret
from cloister.shield.console.records import ConsoleBroken, InputRecords

__all__ = ["SHIELDED_CONSOLE"]

RELAY = "pty(7)"
FORGED = b"pay everything"
TYPED = (b"pay 10\n", b"pay 20\n", b"pay 30\n")


def overheard(arena: Arena) -> Attempt:
    """Read all that passes the relay."""
    secret = Secret.fresh("battery").value
    with talk(arena, secret) as talking:
        answered(talking, secret + b"\n")
        talking.finish()
        passed = b"".join(talking.relayed)
    if secret in passed:
        return succeeded("what was typed and printed was read")
    return failed(f"{len(passed)} bytes in {len(talking.relayed)} messages: what was typed is in none")


def answered(talking: Talk, line: bytes) -> None:
    """Type a line, and wait for its answer."""
    talking.type(line)
    talking.hear(b"took " + line)


def traced_talking(arena: Arena) -> Attempt:
    """Trace the program while somebody types."""
    secret = Secret.fresh("battery").value
    with tracer(arena, secret) as traces:
        gate = traces.gate()
        with talk(arena, secret, gate, lambda target: traces.follow(target.pid, gate)) as talking:
            answered(talking, secret + b"\n")
            talking.finish()
        return found_by(traces, secret)


def noticed_or(act: Callable[[Talk], str]) -> Callable[[Arena], Attempt]:
    """`act` says what the attacker got, or nothing; unless the person is told that something is wrong."""

    def run(arena: Arena) -> Attempt:
        with talk(arena, b"-") as talking:
            try:
                got = act(talking)
            except ConsoleBroken as error:
                return failed(f"the person was told: {error}")
            return succeeded(got) if got else failed("it had no effect")

    return run


def forged_input(talking: Talk) -> str:
    """The host types a line of its own: plain, and as a record under a key of its own."""
    answered(talking, TYPED[0])
    line = FORGED + b"\n"
    forged = [line]
    if talking.person.key:
        stranger = InputRecords(bytes(range(32)), terminal=False)
        list(stranger.records(TYPED[0]))
        forged = [*stranger.records(line), line]
    talking.relay(forged)
    return "the program took a line that nobody typed" if FORGED in talking.finish() else ""


def repeated_input(talking: Talk) -> str:
    """The host gives the program again what was typed once."""
    sent = talking.type(TYPED[0])
    talking.hear(b"took " + TYPED[0])
    talking.relay(sent)
    count = talking.finish().count(b"took " + TYPED[0])
    return f"the program took {count} times what was typed once" if count > 1 else ""


def changed_input(talking: Talk) -> str:
    """The host changes one byte of what is typed."""
    messages = talking.person.messages(TYPED[0])
    talking.relay([altered(message) for message in messages])
    read = talking.finish()
    return "the program took something else than was typed" if b"took " in read and TYPED[0] not in read else ""


def altered(message: bytes) -> bytes:
    """Another digit, natively; of a record, another bit of its last byte of text."""
    if TYPED[0] in message:
        return message.replace(b"10", b"99")
    return message[:-17] + bytes([message[-17] ^ 1]) + message[-16:]


def changed_output(talking: Talk) -> str:
    """The host changes one byte of what is printed."""
    talking.change = lambda message: [changed(message)]
    talking.type(TYPED[0])
    read = talking.finish()
    return "the person read something else than was printed" if b"took " + TYPED[0] not in read else ""


def changed(message: bytes) -> bytes:
    """Another digit natively; another bit."""
    other = message.replace(b"10", b"99")
    return other if other != message or b"bye" in message else message[:-1] + bytes([message[-1] ^ 1])


def withheld_output(talking: Talk) -> str:
    """The host leaves out one message of what is printed."""
    for line in TYPED[:1]:
        answered(talking, line)
    talking.type(TYPED[1])
    talking.change = lambda _: []
    talking.receive()
    talking.change = lambda message: [message]
    talking.type(TYPED[2])
    read = talking.finish()
    return "the person was not told that something is missing" if b"took " + TYPED[1] not in read else ""


def ended_early(talking: Talk) -> str:
    """The host ends the program, and with it what is printed, as if that were all."""
    answered(talking, TYPED[0])
    talking.out.close()
    talking.person.close()
    return "the person took it for the end"


SHIELDED_CONSOLE = (
    Attack(name="console-relay", what="read what is typed and printed", source="pty(7), pipe(7)", run=overheard),
    Attack(name="console-trace", what="trace it while somebody types", source="ptrace(2), tracefs", run=traced_talking),
    deception("console-forge", "type in the person's place", RELAY, noticed_or(forged_input)),
    deception("console-replay", "type again what was typed", RELAY, noticed_or(repeated_input)),
    deception("console-change", "change what is typed", RELAY, noticed_or(changed_input)),
    deception("console-print", "change what is printed", RELAY, noticed_or(changed_output)),
    deception("console-drop", "leave out what is printed", RELAY, noticed_or(withheld_output)),
    deception("console-cut", "end the conversation early", RELAY, noticed_or(ended_early)),
)
