"""SCONE: the session goes to a CAS (scone session create), of which the program asks it when it starts.

Which CAS, and what for, say the variables that the program is started with. It was made by SCONE's compilers or by
sconify_image.

sconedocs, "SCONE CLI", "SCONE environment variables". Which CAS is believed was decided by `scone cas attest`.
"""

from pathlib import Path
from typing import Final

from cloister.frameworks import scone, scone_environment
from cloister.launch.frameworks.plan import Plan, Request, Run, Step, Write

__all__ = ["CARRIED", "FORMAT", "plan"]

FORMAT: Final = scone.NAME
CARRIED: Final = frozenset({"program", "memory", "stack", "log_level", "simulation", "subprocesses"})
FROM: Final = "install SCONE's tools as its own guide says"
MARKS: Final = (b"ld-scone", b"SCONE_")
"""The loader of dynamic programs; the variables that are read in static ones."""
CAS: Final = "SCONE_CAS_ADDR"
CONFIG_ID: Final = "SCONE_CONFIG_ID"


def plan(request: Request, text: str) -> Plan:
    """The plan. `text` is the session's; empty if the program is started without one, and so without attestation."""
    given = request.environment
    lacking = _no_scone(request.program)
    environment = {"SCONE_MODE": "sim" if request.simulated else "hw", **_sizes(request)}
    steps: tuple[Step, ...] = ()
    tools = {}
    if CONFIG_ID in given:
        environment[CONFIG_ID] = given[CONFIG_ID]
    elif text:
        file = request.native or request.folder / f"{request.program.name}.session.yml"
        made = () if request.native else (Write(file, text),)
        steps = (*made, Run(words=("scone", "session", "create", str(file)), directory=request.directory))
        name, service = request.configuration.name, request.configuration.service
        environment[CONFIG_ID] = f"{name or request.program.name}/{service or request.program.name}"
        tools = {"scone": FROM}
        lacking += _no_trust(request)
    if CONFIG_ID in environment and CAS not in given:
        lacking += (f"{CAS} is not set: it says which CAS has the session; SCONE_LAS_ADDR says who quotes",)
    return Plan(
        framework="scone", steps=steps, tools=tools, lacking=lacking, hardware=not request.simulated,
        last=Run(
            words=(str(request.program), *(() if text else request.words)), directory=request.directory,
            environment=environment,
        ),
    )  # fmt: skip


def _sizes(request: Request) -> dict[str, str]:
    """What SCONE's variables say of the enclave: sizes, the log."""
    lines = scone_environment.write(request.configuration).splitlines()
    found = dict(line.split("=", 1) for line in lines)
    return {name: value for name, value in found.items() if name != "SCONE_MODE"}


def _no_scone(program: Path) -> tuple[str, ...]:
    try:
        content = program.read_bytes()
    except OSError as error:
        return (f"{program}: {error.strerror}",)
    if any(mark in content for mark in MARKS):
        return ()
    return (f"{program} is no program of SCONE's: link it with SCONE's compilers, or make an image with sconify_image",)


def _no_trust(request: Request) -> tuple[str, ...]:
    """The CLI keeps which CAS was attested in a file; a session goes to no other."""
    home = Path(request.environment.get("HOME", "/"))
    state = Path(request.environment.get("SCONE_CLI_CONFIG") or home / ".cas/config.json")
    if state.is_file():
        return ()
    return (f"no CAS was attested ({state} does not exist): scone cas attest ADDRESS MRENCLAVE",)
