"""Attacks on what a server receives: capture it, trace it, and change it on the way."""

import contextlib
import time
from collections.abc import Callable

from cloister.app.battery.attack import Attack, Attempt, NotTried, deception, failed, succeeded
from cloister.app.battery.following import found_by, tracer
from cloister.app.battery.serving import Between, Server, Way, close_writing, digest_of, server
from cloister.app.battery.target import Arena
from cloister.observe.prove.grounds.packets import Packets
from cloister.observe.prove.secret import Secret
from cloister.observe.prove.wanted import Wanted

__all__ = ["SHIELDED_NETWORK"]

MOMENT = 0.3
PROXY = "a proxy, or a router"


def fresh() -> Secret:
    return Secret.fresh("battery")


def captured(arena: Arena) -> Attempt:
    """Capture the packets of every interface while a client sends."""
    secret = fresh()
    packets = Packets(wanted=Wanted.of((secret,)))
    with server(arena) as there:
        packets.start()
        try:
            there.send(secret.value)
            arrived(there, secret.value)
            packets.finish()
        finally:
            packets.close()
    if packets.hits:
        return succeeded("the secret was captured")
    looked = packets.report()
    if not looked.whole.holds:
        raise NotTried(looked.whole.detail)
    return failed(f"the secret is in none of it: {looked.amount}")


def arrived(there: Server, data: bytes, before: int = 0) -> None:
    """ValueError unless the server got what was sent."""
    if there.answer(before) != digest_of(data):
        raise ValueError("what was sent did not arrive")


def traced_receiving(arena: Arena) -> Attempt:
    """Trace the server while it receives."""
    secret = fresh()
    with tracer(arena, secret.value) as traces:
        gate = traces.gate()
        with server(arena, gate=gate, follow=lambda target: traces.follow(target.pid, gate)) as there:
            there.send(secret.value)
            arrived(there, secret.value)
        return found_by(traces, secret.value)


def in_between(way: Way) -> Callable[[Arena], Attempt]:
    """Stand between client and server, and pass on something else. Two messages are sent, one after the other."""

    def run(arena: Arena) -> Attempt:
        first, second = fresh().value, fresh().value
        with server(arena) as there:
            there.send(first + second)
            arrived(there, first + second)
            with Between.of(there.port) as between:
                connection = there.connect(between.port)
                time.sleep(MOMENT)  # a handshake is over
                between.attack = way
                with connection, contextlib.suppress(OSError):
                    connection.sendall(first)
                    time.sleep(MOMENT)
                    connection.sendall(second)
                    close_writing(connection)
                said = there.answer(1)
        if said == "noticed":
            return failed("the server noticed it")
        if said == digest_of(first + second):
            raise ValueError("the attack had no effect")
        return succeeded("the server took something else than was sent")

    return run


def flipped(data: bytes) -> list[bytes]:
    """One bit is another."""
    return [data[:-1] + bytes([data[-1] ^ 1])]


def repeated(data: bytes) -> list[bytes]:
    """Twice."""
    return [data, data]


SHIELDED_NETWORK = (
    Attack(name="net-packets", what="capture what a client sends it", source="packet(7)", run=captured),
    Attack(name="net-trace", what="trace it while it receives", source="ptrace(2), tracefs", run=traced_receiving),
    deception("net-flip", "change bits on the way", PROXY, in_between(flipped)),
    deception("net-replay", "send twice what was sent once", PROXY, in_between(repeated)),
    deception("net-cut", "end the connection early, as if it were its end", PROXY, in_between(lambda _: None)),
)
