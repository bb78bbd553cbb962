"""What reference values a CoRIM gives, and which CoRIMs give none."""

from datetime import UTC, datetime, timedelta

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from tests.forge.corim import manifest, measured, signed_manifest

from cloister._cbor import Tag
from cloister._crypto import PublicKey
from cloister.appraise.corim_values import read_corim
from cloister.appraise.reference import ReferenceValues
from cloister.appraise.reference_files import read_reference_file, signer_keys
from cloister.appraise.rules import Operator
from cloister.errors import EndorsementUnavailable, PolicyError

AT = datetime(2025, 6, 1, tzinfo=UTC)
KEY, OTHER = ec.generate_private_key(ec.SECP256R1()), ec.generate_private_key(ec.SECP256R1())
SHA256, SHA384 = [1, b"\xaa" * 32], [7, b"\xbb" * 48]
GOOD = manifest([measured("mrenclave", digests=[SHA256])])


def read(data: bytes, *keys: PublicKey, unsigned: bool = True, at: datetime = AT) -> ReferenceValues:
    return read_corim(data, name="app.corim", keys=keys, at=at, unsafe_unsigned=unsigned)


def test_each_kind_of_value() -> None:
    found = read(
        manifest(
            [
                measured("mrtd", digests=[SHA256, SHA384], name="firmware"),
                measured("svn of it", svn=Tag(553, 3)),
                measured(7, svn=2),
                measured("bits", raw=Tag(560, b"\x0f\xff"), mask=b"\x0f\x00"),
                measured("pair", raw=Tag(563, [b"\x01", b"\x01"])),
                measured("whole", raw=b"\x01\x02"),
                measured("vm", registers={"rtmr1": [SHA384], 2: [SHA384]}),
                measured(Tag(37, bytes(16)), digests=[SHA256]),
                measured(None, digests=[SHA256]),
            ]
        )
    )
    assert [(one.name, one.operator, one.operand) for one in found.values] == [
        ("mrtd", Operator.EQUAL, "aa" * 32),
        ("mrtd", Operator.EQUAL, "bb" * 48),
        ("svn of it.svn", Operator.MINIMUM, 3),
        ("7.svn", Operator.EQUAL, 2),
        ("bits", Operator.MASKED_EQUAL, ("0f00", "0f00")),
        ("pair", Operator.MASKED_EQUAL, ("01", "01")),
        ("whole", Operator.EQUAL, "0102"),
        ("vm.2", Operator.EQUAL, "bb" * 48),
        ("rtmr1", Operator.EQUAL, "bb" * 48),
        ("00" * 16, Operator.EQUAL, "aa" * 32),
        ("ACME/Rocket", Operator.EQUAL, "aa" * 32),
    ]
    assert found.values[0].label == "firmware"
    assert found.values[0].provenance == "CoRIM corim, unsigned"


def test_a_signed_manifest_and_its_signer() -> None:
    (one,) = read(signed_manifest(GOOD, KEY), OTHER.public_key(), KEY.public_key(), unsigned=False).values
    assert one.provenance == "CoRIM corim signed by Test signer"


MEANINGLESS = {
    "an unknown profile": manifest([measured("m", digests=[SHA256])], profile=Tag(32, "tag:example.com,2025:x")),
    "an instance": manifest([measured("m", digests=[SHA256])], environment={0: {1: "A"}, 1: Tag(560, b"x")}),
    "a group": manifest([measured("m", digests=[SHA256])], environment={0: {1: "A"}, 2: Tag(37, bytes(16))}),
    "flags that no claim has": manifest([measured("m", digests=[SHA256], extra={3: {3: False}})]),
    "an extension": manifest([measured("m", digests=[SHA256], extra={-1: 1})]),
    "a key that may vouch for evidence": manifest([{**measured("m", digests=[SHA256]), 2: [1]}]),
    "an unknown hash": manifest([measured("m", digests=[[99, bytes(32)]])]),
    "a truncated hash": manifest([measured("m", digests=[[6, bytes(4)]])]),
    "a digest of another length": manifest([measured("m", digests=[[1, bytes(31)]])]),
    "an algorithm twice": manifest([measured("m", digests=[SHA256, [1, bytes(32)]])]),
    "no digests": manifest([measured("m", digests=[])]),
    "a negative version": manifest([measured("m", svn=-1)]),
    "a version of another kind": manifest([measured("m", svn=Tag(551, 1))]),
    "a mask of another length": manifest([measured("m", raw=b"ab", mask=b"a")]),
    "a mask that lets everything through": manifest([measured("m", raw=b"ab", mask=b"\0\0")]),
    "a raw value of another kind": manifest([measured("m", raw="text")]),
    "registers that are none": manifest([measured("m", registers=[])]),
    "a key of another kind": manifest([measured([1], digests=[SHA256])]),
    "nothing to compare": manifest([measured("m", name="x")]),
    "no values": manifest([{0: "m", 1: {}}]),
    "no measurements": manifest([]),
    "no CoMID": manifest([measured("m", digests=[SHA256])], k1=[]),
    "an unknown tag inside": manifest([measured("m", digests=[SHA256])], k1=[Tag(507, b"")]),
    "a profile without tag": manifest([measured("m", digests=[SHA256])], profile="http://example.com"),
    "a time without tag": manifest([measured("m", digests=[SHA256])], k4={1: 5}),
    "a time beyond all calendars": manifest([measured("m", digests=[SHA256])], k4={1: Tag(1, 1 << 62)}),
    "bytes behind it": GOOD + b"\0",
    "another tag": b"\xd8\x2a\xa0",
    "nothing": b"",
}


@pytest.mark.parametrize("data", MEANINGLESS.values(), ids=MEANINGLESS)
def test_what_is_not_understood_is_refused(data: bytes) -> None:
    with pytest.raises(PolicyError, match=r"^app\.corim: "):
        read(data)


def test_time() -> None:
    yesterday = AT - timedelta(days=1)
    for data in (
        manifest([measured("m", digests=[SHA256])], until=yesterday),
        signed_manifest(GOOD, KEY, until=yesterday),
    ):
        with pytest.raises(EndorsementUnavailable, match="not valid"):
            read(data, KEY.public_key())
        assert read(data, KEY.public_key(), at=yesterday - timedelta(days=1))


def test_files_by_their_content() -> None:
    json = b'[{"tee": "sgx", "name": "isvsvn", "minimum": 3}]'
    assert read_reference_file(json, name="x", keys=(), at=AT).values[0].operand == 3
    signed = signed_manifest(GOOD, KEY)
    assert len(read_reference_file(signed, name="x", keys=(KEY.public_key(),), at=AT)) == 1


@pytest.mark.parametrize("text", [b"", b"-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----\n"])
def test_files_without_keys(text: bytes) -> None:
    with pytest.raises(PolicyError, match=r"^keys\.pem: "):
        signer_keys(text, name="keys.pem")
