"""EGo: the program and its enclave.json are signed (ego sign), in the program's own file, and started (ego run).

EGo, ego/cmd/ego/main.go and ego/cli/sign.go. Signing changes the program's file; so where the enclave.json is made here
a copy is signed. Its paths are written as seen from the file's own directory, which is also where it is signed.
"""

import os
from pathlib import Path
from typing import Final

from cloister.errors import ParseError
from cloister.frameworks import ego
from cloister.launch.frameworks.plan import Copy, Plan, Request, Run, Step, Write
from cloister.measure.elf import parse_elf

__all__ = ["CARRIED", "FORMAT", "plan", "relative"]

FORMAT: Final = ego.NAME
CARRIED: Final = frozenset({"arguments", "argument_zero", "attestation"})
FROM: Final = "install EGo as its own guide says (snap install ego-dev --classic, or its package)"
FILE: Final = "enclave.json"
SECTION: Final = ".oeinfo"
KEY: Final = "private.pem"


def plan(request: Request, text: str) -> Plan:
    """The plan, for an enclave.json whose text this is."""
    if request.native is not None:
        folder, name = request.native.parent, request.native.name
        steps: tuple[Step, ...] = ()
        program = folder / (request.configuration.program or request.program.name)
        lacking = _lacking(program)
    else:
        folder, name, program = request.folder, FILE, request.folder / request.program.name
        steps = (Write(folder / FILE, text), Copy(request.program, program))
        lacking = _lacking(request.program)
    environment = {"OE_SIMULATION": "1"} if request.simulated else {}
    if request.native is not None and request.key is not None:
        lacking += (f"{name} names the key to sign with itself: set key there, and leave out --sign-key",)
    return Plan(
        framework="ego", tools={"ego": FROM}, lacking=lacking, hardware=not request.simulated,
        steps=(*steps, Run(words=("ego", "sign", name), directory=folder)),
        last=Run(
            words=("ego", "run", str(program), *request.words), directory=request.directory, environment=environment
        ),
    )  # fmt: skip


def relative(path: Path, folder: Path) -> str:
    """A path as it is written into an enclave.json in `folder`."""
    return os.path.relpath(path, folder)


def _lacking(program: Path) -> tuple[str, ...]:
    """What makes this no program of EGo's: ego-go links the place for the signature in."""
    try:
        sections = parse_elf(program.read_bytes()).sections
    except OSError as error:
        return (f"{program}: {error.strerror}",)
    except ParseError:
        sections = {}
    if SECTION in sections:
        return ()
    return (f"{program} was not built with `ego-go build`: it has no section {SECTION}, where the signature stands",)
