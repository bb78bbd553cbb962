"""Runs `cloister verify` inside the test's process, on forged evidence of every TEE in files."""

import json
from pathlib import Path
from typing import Any

import pytest
from tests.forge.every import NONCE, every
from tests.forge.x509 import NOW
from tests.services.command import Ran

from cloister import cli
from cloister.model import Tee

__all__ = ["AT", "MEASUREMENT", "TEES", "document", "policy_for", "trust", "trusted", "verify"]

TEES = sorted(every())
AT = f"{NOW:%Y-%m-%dT%H:%M:%SZ}"
MEASUREMENT = {
    Tee.SGX: "mrenclave", Tee.TDX: "mrtd", Tee.SNP: "measurement", Tee.CCA: "rim", Tee.KEYSTONE: "enclave_hash",
    Tee.TPM: "pcr4", Tee.SOFTWARE: "measurement",
}  # fmt: skip
"""The claim of each TEE that says which program it is."""


def verify(capsys: pytest.CaptureFixture[str], *words: object) -> Ran:
    """Run it with these words."""
    capsys.readouterr()
    try:
        code = cli.main(["verify", *(str(one) for one in words)])
    except SystemExit as refused:
        code = int(refused.code or 0)
    printed = capsys.readouterr()
    return Ran(code=code, out=printed.out, err=printed.err)


def trust(tee: Tee, folder: Path) -> list[str]:
    """The words that say whom to believe for a TEE's sample, with what vouches for it, and when."""
    words = ["--at", AT, every()[tee].trust, str(folder / f"{tee}-root.pem")]
    for name in (f"{tee}-collateral.json", f"{tee}-certificates.pem"):
        if (folder / name).exists():
            words += ["--endorsement", str(folder / name)]
    return words


def trusted(capsys: pytest.CaptureFixture[str], tee: Tee, folder: Path, *words: object) -> Ran:
    """Run it on the sample of a TEE, whose root is believed."""
    return verify(capsys, folder / f"{tee}.bin", *trust(tee, folder), *words)


def document(capsys: pytest.CaptureFixture[str], tee: Tee, folder: Path, *words: object) -> dict[str, Any]:
    """The JSON document about a TEE's sample, fresh and trusted."""
    fresh = ["--nonce", NONCE.hex(), "--json"]
    ran = trusted(capsys, tee, folder, *fresh, *words)
    made: dict[str, Any] = json.loads(ran.out)
    return made


def policy_for(tee: Tee, measured: str, path: Path) -> Path:
    """A policy that accepts anchors of every kind and one program."""
    path.write_text(
        'accept_anchors = ["owner", "software", "testing"]\n'
        f'[{tee}]\n{MEASUREMENT[tee]} = {{ equal = "{measured}", decides = "executables" }}\n'
    )
    return path
