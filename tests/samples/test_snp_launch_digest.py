"""Every published launch digest of SEV, SEV-ES and SEV-SNP, and the published ID block's signatures."""

import base64
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from tests.samples.conftest import EVIDENCE

from cloister import _crypto
from cloister._x509 import pem_blocks
from cloister.errors import SignatureInvalid, UsageError
from cloister.evidence.sev_keys import EcKey
from cloister.evidence.snp_id_block import IdAuth, IdBlock
from cloister.measure.sev import Kernel, sev_digest, sev_es_digest
from cloister.measure.snp import firmware_digest, launch_digest, svsm_launch_digest
from cloister.measure.vmsa import CPU_MODELS, Vmm
from cloister.model import Digest
from cloister.verification.snp_id_block import check_id_block

VECTORS = EVIDENCE / "snp-launch-digest" / "virtee-sev-snp-measure"
ID_BLOCK = EVIDENCE / "snp-launch-digest" / "virtee-id-block"


def vectors() -> list[dict[str, Any]]:
    path = VECTORS / "vectors.json"
    return json.loads(path.read_text()) if path.exists() else []


def file(name: str) -> bytes:
    return b"" if name == "EMPTY" else (VECTORS / name).read_bytes()


def digest_of(args: dict[str, Any]) -> Digest:
    """What this package computes for the arguments of the reference implementation."""
    firmware, cpu, vmm = file(args["ovmf_file"]), args["vcpu_sig"] or 0, Vmm(args["vmm_type"].lower())
    kernel = None
    if args["kernel"] is not None:
        initrd = file(args["initrd"]) if args["initrd"] else b""
        kernel = Kernel(image=file(args["kernel"]), initrd=initrd, command_line=args["append"] or "")
    match args["mode"]:
        case "SEV":
            return sev_digest(firmware, kernel=kernel)
        case "SEV_ES":
            return sev_es_digest(firmware, processors=args["vcpus"], cpu=cpu, vmm=vmm, kernel=kernel)
        case "SEV_SNP_SVSM":
            svsm, size = file(args["svsm_file"]), args["ovmf_vars_size"]
            return svsm_launch_digest(firmware, svsm, processors=args["vcpus"], cpu=cpu, variables=size)
        case _:
            return launch_digest(
                firmware, processors=args["vcpus"], cpu=cpu, features=args["guest_features"], vmm=vmm, kernel=kernel,
                start=bytes.fromhex(args["snp_ovmf_hash_str"]) or None,
            )  # fmt: skip


def test_the_corpus_is_there() -> None:
    assert len(vectors()) == 26
    assert {one["args"]["mode"] for one in vectors()} == {"SEV", "SEV_ES", "SEV_SNP", "SEV_SNP_SVSM"}
    assert {one["args"]["vmm_type"] for one in vectors()} == {"QEMU", "ec2", "gce"}


@pytest.mark.parametrize("vector", vectors(), ids=lambda one: one["test"])
def test_digest(vector: dict[str, Any]) -> None:
    assert digest_of(vector["args"]).value.hex() == vector["launch_digest"]


def test_the_digest_of_the_firmware_stands_in_for_it() -> None:
    firmware = file("ovmf_AmdSev_suffix.bin")
    options: dict[str, Any] = {"processors": 2, "cpu": CPU_MODELS["EPYC-Milan"]}
    start = firmware_digest(firmware).value
    assert launch_digest(firmware, start=start, **options) == launch_digest(firmware, **options)


def test_firmware_that_checks_no_hashes_is_not_given_a_kernel() -> None:
    firmware, kernel = file("ovmf_OvmfX64_suffix.bin"), Kernel(image=b"")
    attempts: tuple[Callable[[], Digest], ...] = (
        lambda: sev_digest(firmware, kernel=kernel),
        lambda: sev_es_digest(firmware, processors=1, cpu=0, kernel=kernel),
        lambda: launch_digest(firmware, processors=1, kernel=kernel),
    )
    for attempt in attempts:
        with pytest.raises(UsageError, match="does not check hashes of a kernel"):
            attempt()


# ---------------------------------------------------------------- the ID block

BLOCK = base64.b64decode(
    "oU1jg0HlZ0Yo/h4C++3r5eWrT68d1y2JZgaOYVu5nv0T0hSzXCMXFbOOJj3GBZdFAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAABAAAA"
    "AAAAAAAAAwAAAAAA"
)
"""The block that the sample's signature is over, and the digests of its keys (virtee/sev, tests/id-block.rs)."""

ID_KEY_DIGEST = "WfssaG36T+9J84M5qndckAUcKNVzg93DuvO160sUlt87DbvcuuX+J2d6ZEggdz/i"
AUTHOR_KEY_DIGEST = "7tgRafsMteDsNHlPEo/U4MSkb2fGWhrfqB/LJLzAiMJyNpt//D6ytq9qQoShs2xf"


def id_auth() -> IdAuth:
    return IdAuth.parse((ID_BLOCK / "test_auth_block.bin").read_bytes())


def point(path: Path) -> bytes:
    return pem_blocks(path.read_bytes(), "PUBLIC KEY")[0][-96:]


def test_the_id_block_is_signed_by_the_published_keys() -> None:
    block, auth = IdBlock.parse(BLOCK), id_auth()
    assert block.serialize() == BLOCK
    assert auth.serialize() == (ID_BLOCK / "test_auth_block.bin").read_bytes()
    check_id_block(block, auth, author=True)
    assert auth.id_key == EcKey.of(point(ID_BLOCK / "test_id_key.pub.pem"))
    assert auth.author_key == EcKey.of(point(ID_BLOCK / "test_auth_key.pub.pem"))
    spki = _crypto.spki_of(_crypto.ec_public_key("P-384", auth.id_key.point))
    assert spki == pem_blocks((ID_BLOCK / "test_id_key.pub.pem").read_bytes(), "PUBLIC KEY")[0]
    for key, digest in ((auth.id_key, ID_KEY_DIGEST), (auth.author_key, AUTHOR_KEY_DIGEST)):
        assert key.digest == base64.b64decode(digest)
    assert auth.id_block_sig.serialize() == (ID_BLOCK / "test_id_sig.bin").read_bytes()
    assert auth.id_key_sig.serialize() == (ID_BLOCK / "test_auth_sig.bin").read_bytes()


@pytest.mark.parametrize("offset", [0, 0x30, 0x44, 0x58])
def test_an_altered_id_block_is_refused(offset: int) -> None:
    data = bytearray(BLOCK)
    data[offset] ^= 1
    with pytest.raises(SignatureInvalid, match="ID key's signature over the ID block"):
        check_id_block(IdBlock.parse(bytes(data)), id_auth(), author=True)


def test_an_id_key_that_the_author_did_not_sign_is_refused() -> None:
    auth = id_auth()
    changed = dict(vars(auth)) | {"author_key": auth.id_key}
    for name in [name for name in changed if name.startswith("reserved")]:
        del changed[name]
    check_id_block(IdBlock.parse(BLOCK), IdAuth(**changed), author=False)
    with pytest.raises(SignatureInvalid, match="author key's signature over the ID key"):
        check_id_block(IdBlock.parse(BLOCK), IdAuth(**changed), author=True)
