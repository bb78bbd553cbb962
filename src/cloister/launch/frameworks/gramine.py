"""Gramine: the manifest is signed (gramine-sgx-sign), which fills in the digests of files, and started (gramine-sgx).

Gramine, Documentation/manpages/gramine-sgx-sign.rst, Documentation/manpages/gramine.rst and tools/gramine.in:
`gramine-sgx NAME` reads NAME.manifest.sgx and NAME.sig, in the directory where the manifest's relative paths begin.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Final

from cloister.frameworks import gramine
from cloister.launch.frameworks.needs import AESM
from cloister.launch.frameworks.plan import Plan, Request, Run, Step, Write

__all__ = ["CARRIED", "FORMAT", "plan"]

FORMAT: Final = gramine.NAME
CARRIED: Final[frozenset[str]] = frozenset()
"""What the commands say, though the file has no place for it."""
SUFFIX: Final = ".manifest"
FROM: Final = "install Gramine as its own guide says"
KEY: Final = "gramine/enclave-key.pem"


def plan(request: Request, text: str) -> Plan:
    """The plan, for a manifest whose text this is."""
    manifest = request.native or request.folder / f"{request.program.name}{SUFFIX}"
    name = manifest.with_suffix("") if manifest.suffix == SUFFIX else manifest
    steps: list[Step] = [] if request.native else [Write(manifest, text)]
    host = request.words if request.configuration.host_arguments else ()
    if request.simulated:
        lacking = () if manifest.suffix == SUFFIX else (f"{manifest}: gramine-direct takes files called NAME{SUFFIX}",)
        last = Run(words=("gramine-direct", str(name), *host), directory=request.directory)
        return Plan(
            framework="gramine", steps=tuple(steps), last=last, tools={"gramine-direct": FROM}, lacking=lacking,
            hardware=False,
        )  # fmt: skip
    key = request.key or _default_key(request.environment)
    signing = ("gramine-sgx-sign", "--manifest", str(manifest), "--output", f"{name}.manifest.sgx")
    steps.append(
        Run(words=(*signing, "--sigfile", f"{name}.sig", "--key", str(key)), directory=request.directory)
    )  # fmt: skip
    return Plan(
        framework="gramine", steps=tuple(steps),
        last=Run(words=("gramine-sgx", str(name), *host), directory=request.directory),
        tools={"gramine-sgx-sign": FROM, "gramine-sgx": FROM},
        needs=(AESM,) if request.configuration.attestation == "dcap" else (),
        lacking=() if key.is_file() else (f"{key}: no key to sign with: gramine-sgx-gen-private-key {key} makes one",),
    )  # fmt: skip


def _default_key(environment: Mapping[str, str]) -> Path:
    """Where Gramine's own tools look (python/graminelibos/sgx_sign.py)."""
    config = environment.get("XDG_CONFIG_HOME") or str(Path(environment.get("HOME", "/")) / ".config")
    return Path(config) / KEY
