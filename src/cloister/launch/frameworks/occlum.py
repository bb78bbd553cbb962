"""Occlum: an instance is begun (occlum init), its image filled (copy_bom), built and signed (occlum build), and run.

Occlum, tools/occlum, tools/copy_bom and docs/readthedocs/docs/source/occlum_cmds.md. Occlum.json beside a directory
`image` is an instance already: it is only built and run.
"""

from dataclasses import replace
from pathlib import Path
from typing import Final

from cloister.frameworks import occlum, occlum_bom
from cloister.frameworks.model import Configuration, MeasuredFile
from cloister.launch.frameworks.needs import AESM
from cloister.launch.frameworks.plan import Plan, Request, Run, Step, Write

__all__ = ["CARRIED", "FORMAT", "plan"]

FORMAT: Final = occlum.NAME
CARRIED: Final = frozenset(
    {"program", "arguments", "argument_zero", "measured_files", "directories", "links", "attestation"}
)
FROM: Final = "install Occlum as its own guide says, and put /opt/occlum/build/bin on PATH"
TEMPLATES: Final = "/opt/occlum/etc/template"
BASE: Final = "includes:\n  - base.yaml\n"
"""Occlum's own C library and loader, of which its copy_bom puts the parts in that every program needs."""
BEGUN: Final = ".__occlum_status"
NO_KEY: Final = (
    "no key to sign with: without --sign-key FILE Occlum signs with the key of Intel's samples, which everybody has; "
    "openssl genrsa -3 -out FILE 3072 makes one"
)


def plan(request: Request, text: str) -> Plan:
    """The plan, for an Occlum.json whose text this is."""
    ready = request.native is not None and (request.native.parent / "image").is_dir()
    folder = request.native.parent if request.native is not None and ready else request.folder
    build = ("occlum", "build", "--sgx-mode", "SIM" if request.simulated else "HW")
    signed = () if request.key is None else ("--sign-key", str(request.key))
    tools = {"occlum": FROM} if ready else {"occlum": FROM, "copy_bom": FROM}
    return Plan(
        framework="occlum", tools=tools, hardware=not request.simulated, needs=(AESM,),
        lacking=(NO_KEY,) if request.key is None and not request.simulated else (),
        steps=(*(() if ready else _filled(request, folder, text)), Run(words=(*build, *signed), directory=folder)),
        last=Run(words=("occlum", "run", str(request.program), *request.words), directory=folder),
    )  # fmt: skip


def _filled(request: Request, folder: Path, text: str) -> tuple[Step, ...]:
    """An instance, with its Occlum.json, and the program with what it needs in its image."""
    begin = () if (folder / BEGUN).exists() else (Run(words=("occlum", "init"), directory=folder),)
    bom = folder / "bom.yaml"
    copy = ("copy_bom", "-f", str(bom), "--root", str(folder / "image"), "--include-dir", TEMPLATES)
    return (
        *begin,
        Write(folder / "Occlum.json", text),
        Write(bom, BASE + occlum_bom.write(_in_image(request))),
        Run(words=copy, directory=request.directory),
    )


def _in_image(request: Request) -> Configuration:
    """What is listed; the program at least, for copy_bom finds the libraries that it needs."""
    found = request.configuration
    files = dict(found.measured_files)
    files.setdefault(str(request.program), MeasuredFile((str(request.program),)))
    return replace(found, measured_files=files)
