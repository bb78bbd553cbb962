"""Attested TLS with the evidence of emulated machines that really launched a program."""

from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest
from tests.forge.emulated_sev import quick_keystore
from tests.machines.build import program
from tests.services.attested_tls import converse, refusal

from cloister.appraise.vector import Tier
from cloister.emulate.catalogue import kind_of
from cloister.emulate.inside import Request, launched, load_program
from cloister.emulate.machine import Machine, Vouching
from cloister.emulate.terminal import sealed_terminal
from cloister.endorse import cache
from cloister.endorse.anchors import AnchorKind, TrustAnchors
from cloister.endorse.importing import import_files
from cloister.endorse.store import Endorsements
from cloister.errors import ChainInvalid, EndorsementUnavailable
from cloister.model import Tee, Unchecked
from cloister.tls import (
    Demands,
    EvidenceProvider,
    Identity,
    Produced,
    client_context,
    demand,
    evidence_of,
    server_context,
)
from cloister.verifier.trust_files import anchors_in

UNNAMED = Unchecked("any program: the machine is what is tested")
ANY = frozenset(Tier)


@pytest.fixture(scope="module")
def directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A program's source, and keys of the emulated manufacturers."""
    found = tmp_path_factory.mktemp("machines")
    quick_keystore(found)
    (found / "app.c").write_text("int main(void) { return 0; }\n")
    return found


@pytest.fixture(params=["sgx", "tdx", "sev-snp", "cca", "keystone"])
def machine(request: pytest.FixtureRequest, directory: Path) -> Iterator[Machine]:
    """One machine with the program in it."""
    with_program = launch(str(request.param), directory)
    yield with_program
    with_program.close()


def launch(tee: str, directory: Path) -> Machine:
    kind = kind_of(tee)
    path = directory / f"app-{kind.architecture}"
    path.write_bytes(program(directory / "app.c", kind.architecture))
    terminal = sealed_terminal(lambda _: b"", lambda _: None)
    return launched(kind, Request(tee=tee, keys=str(directory / "store")), load_program(str(path)), terminal)


def believed(vouching: Vouching, *, fresh: bool = False) -> Demands:
    """Demands of somebody who believes the emulated manufacturer."""
    anchors, endorsements = trust(vouching)
    return demand(UNNAMED, anchors=anchors, endorsements=endorsements, accept=ANY, fresh=fresh)


def trust(vouching: Vouching) -> tuple[TrustAnchors, Endorsements]:
    anchors, keys = anchors_in(vouching.roots, "roots.pem", kind=AnchorKind.TESTING, tees=frozenset(Tee))
    return anchors, cache.endorsements(import_files(vouching.collateral.items())) | keys


@pytest.mark.parametrize("fresh", [False, True])
def test_its_evidence_is_verified_in_the_handshake(machine: Machine, fresh: bool) -> None:  # noqa: FBT001 - a table
    identity = Identity(evidence_of(machine))
    vouching = machine.vouching(datetime.now(UTC))
    client, served = converse(client_context(believed(vouching, fresh=fresh)), server_context(identity))
    assert (client.error, served.received) == (None, b"request")
    assert client.peer is not None
    claims = client.peer.verdict.claims
    assert machine.measurement.value.hex() in str(dict(claims))
    assert client.peer.verdict.tee == machine.tee


def test_whoever_believes_hardware_only_refuses_it(machine: Machine) -> None:
    _, endorsements = trust(machine.vouching(datetime.now(UTC)))
    demands = demand(UNNAMED, endorsements=endorsements, accept=ANY)
    client, served = converse(client_context(demands), server_context(Identity(evidence_of(machine))))
    refusal(client, ChainInvalid)
    assert served.received == b""


def test_certificates_that_travel_with_the_evidence_complete_the_chain(directory: Path) -> None:
    """An SNP chip's certificates, as a server hands them over; without them the client has nothing to decide by."""
    machine = launch("sev-snp", directory)
    anchors, endorsements = trust(machine.vouching(datetime.now(UTC)))
    along = tuple(one.encoded for one in endorsements.certificates)
    assert along
    poor = demand(UNNAMED, anchors=anchors, endorsements=Endorsements(crls=endorsements.crls), accept=ANY)

    def bringing(report_data: bytes) -> Produced:
        return Produced(evidence=machine.evidence(report_data), certificates=along)

    outcomes: dict[str, EvidenceProvider] = {"alone": evidence_of(machine), "with its chain": bringing}
    ends = {
        name: converse(client_context(poor), server_context(Identity(provider)))[0]
        for name, provider in outcomes.items()
    }
    machine.close()
    refusal(ends["alone"], EndorsementUnavailable)
    assert ends["with its chain"].error is None
