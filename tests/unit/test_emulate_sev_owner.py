"""The guest's owner: what it checks before it sends anything, and the table of secrets that it sends."""

import contextlib
import uuid
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cloister.emulate.sev.commands import Policy
from cloister.emulate.sev.owner import GuestOwner, open_disk
from cloister.emulate.sev.secret_area import DISK_KEY, secret_area, secrets_in
from cloister.emulate.vendors.amd import AmdManufacturer
from cloister.emulate.vendors.amd_sev import changed
from cloister.emulate.vendors.amd_sev_platform import SevPlatform
from cloister.emulate.vendors.amd_sev_secret import open_secret
from cloister.emulate.vendors.amd_sev_session import launch_measurement
from cloister.emulate.vendors.keystore import Keystore
from cloister.errors import BindingInvalid, ChainInvalid, ParseError, SignatureInvalid, UsageError
from cloister.evidence.sev import LaunchMeasurement
from cloister.evidence.sev_chain import SevChain
from cloister.measure.image import PAGE
from cloister.model import Digest

GOOD = Digest("sha256", bytes(range(32)))
NAME = uuid.UUID(int=7)


@pytest.fixture(scope="module")
def platform(tmp_path_factory: pytest.TempPathFactory) -> SevPlatform:
    amd = AmdManufacturer(Keystore(tmp_path_factory.mktemp("keys") / "store"), "Milan", key_bits=2048)
    return SevPlatform.of(amd, amd.chip_id())


def accept(_chain: SevChain) -> None:
    """Another test checks certificates."""


def owner_of(**settings: object) -> GuestOwner:
    values = {"expected": [GOOD], "check_platform": accept, "secrets": {NAME: b"value"}} | settings
    return GuestOwner(**values)  # type: ignore[arg-type]


def measured(owner: GuestOwner, digest: Digest = GOOD, **fields: int) -> LaunchMeasurement:
    """What a firmware with the owner's keys answers."""
    values = {"policy": owner.policy, "build": 20} | fields
    return launch_measurement(owner.session.keys, digest.value, mnonce=bytes(16), api=(1, 55), **values)


def test_the_owner_asks_whether_the_platform_is_genuine(platform: SevPlatform) -> None:
    asked: list[SevChain] = []
    owner_of(check_platform=asked.append).begin(platform.chain)
    assert asked == [platform.chain]

    def refuse(_chain: SevChain) -> None:
        raise ChainInvalid("no")

    owner = owner_of(check_platform=refuse)
    with pytest.raises(ChainInvalid):
        owner.begin(platform.chain)
    with pytest.raises(UsageError, match="has seen no platform"):
        _ = owner.session


def test_the_secret_goes_to_an_expected_launch_only(platform: SevPlatform) -> None:
    owner = owner_of()
    owner.begin(platform.chain)
    measurement = measured(owner)
    assert owner.confirm(measurement) == GOOD
    packet = owner.release(measurement)
    area = open_secret(
        owner.session.keys, packet.header, packet.data, measurement.measure, guest_length=len(packet.data)
    )
    assert secrets_in(area) == {NAME: b"value"}


def test_every_other_launch_is_refused(platform: SevPlatform) -> None:
    owner = owner_of()
    owner.begin(platform.chain)
    other = Digest("sha256", bytes(32))
    right = measured(owner)
    for wrong in (
        measured(owner, other),
        measured(owner, policy=owner.policy & ~Policy.NODBG),
        changed(right, policy=owner.policy & ~Policy.NODBG),
        changed(right, mnonce=b"\1" * 16),
        changed(right, api_minor=1),
        changed(right, build=19),
        changed(right, measure=bytes(32)),
    ):
        with pytest.raises(BindingInvalid):
            owner.release(wrong)


def test_a_measure_under_another_sessions_key_is_refused(platform: SevPlatform) -> None:
    owner, other = owner_of(), owner_of()
    owner.begin(platform.chain)
    other.begin(platform.chain)
    with pytest.raises(BindingInvalid):
        owner.release(measured(other))


def test_the_owners_data_open_under_the_disk_key_only() -> None:
    key = bytes(range(32))
    sealed = owner_of(secrets={DISK_KEY: key}).encrypted_disk(b"the owner's data")
    assert open_disk(key, sealed) == b"the owner's data"
    assert b"the owner's data" not in sealed
    for wrong, data in ((bytes(32), sealed), (key, sealed[:-1]), (key, b"short"), (key[:5], sealed)):
        with pytest.raises(SignatureInvalid):
            open_disk(wrong, data)
    with pytest.raises(UsageError, match="no disk key"):
        owner_of().encrypted_disk(b"data")


# ---- the table of secrets


def test_the_table_has_linuxs_layout() -> None:
    area = secret_area({DISK_KEY: b"key", NAME: b""})
    assert area[:16] == uuid.UUID("1e74f542-71dd-4d66-963e-ef4287ff173b").bytes_le
    assert int.from_bytes(area[16:20], "little") == 20 + 23 + 20
    assert area[20:36] == DISK_KEY.bytes_le
    assert int.from_bytes(area[36:40], "little") == 23
    assert area[40:43] == b"key"
    assert len(area) % 16 == 0
    assert secrets_in(area.ljust(PAGE, b"\xaa")) == {DISK_KEY: b"key", NAME: b""}


def test_garbage_is_no_table() -> None:
    assert secrets_in(bytes(PAGE)) == {}
    assert secrets_in(b"\x5c" * PAGE) == {}


@pytest.mark.parametrize(
    ("offset", "value"),
    [(16, 19), (16, PAGE + 1), (36, 19), (36, 4000), (16, 50)],
)
def test_a_damaged_table_is_refused(offset: int, value: int) -> None:
    area = bytearray(secret_area({DISK_KEY: b"key", NAME: b"other"}).ljust(PAGE, b"\0"))
    area[offset : offset + 4] = value.to_bytes(4, "little")
    with pytest.raises(ParseError):
        secrets_in(bytes(area))


def test_an_entry_stands_once() -> None:
    area = secret_area({NAME: b"one", uuid.UUID(int=8): b"two"})
    twice = area.replace(uuid.UUID(int=8).bytes_le, NAME.bytes_le)
    with pytest.raises(ParseError, match="twice"):
        secrets_in(twice)


@given(st.dictionaries(st.uuids(), st.binary(max_size=64), max_size=8))
def test_every_table_is_read_back(entries: dict[uuid.UUID, bytes]) -> None:
    assert secrets_in(secret_area(entries).ljust(PAGE, b"\xff")) == entries


@given(st.binary(max_size=200))
def test_a_hostile_table_is_read_or_refused(content: bytes) -> None:
    """The hypervisor chooses what stands there if no secret was injected."""
    page = secret_area({})[:16] + content
    with contextlib.suppress(ParseError):
        secrets_in(page.ljust(PAGE, b"\0"))


def test_a_table_fits_into_a_page() -> None:
    assert len(secret_area({NAME: bytes(PAGE - 40)})) == PAGE
    with pytest.raises(UsageError, match="page"):
        secret_area({NAME: bytes(PAGE - 39)})


def test_an_empty_policy_is_the_owners_too(platform: SevPlatform) -> None:
    owner = owner_of(policy=0)
    owner.begin(replace(platform.chain))
    assert owner.confirm(measured(owner)) == GOOD
