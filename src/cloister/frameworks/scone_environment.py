"""The variables by which SCONE's programs are configured when they are signed or started: lines NAME=VALUE.

Names and defaults: sconedocs, "SCONE environment variables". They are of the host, unless they were signed in.
"""

from collections.abc import Mapping
from typing import Final

from cloister.frameworks.draft import Draft, Values
from cloister.frameworks.forms import LETTERS, PLAIN, SWITCH, Form, mapped
from cloister.frameworks.model import Configuration
from cloister.frameworks.source import read_environment
from cloister.frameworks.table import Key, Kind, Sheet

__all__ = ["CANNOT", "ELSE", "NAME", "TABLE", "read", "write"]

NAME: Final = "scone-env"
PAGE: Final = "sconedocs, SCONE environment variables"
LEVELS: Final = mapped({"none": "none", "error": "error", "warn": "warning", "debug": "debug", "trace": "trace"})
MODES: Final = mapped({"hw": False, "sim": True})
"""`auto` is left: it means whichever the machine can."""


def _key(path: str, concept: str = "", form: Form = PLAIN) -> Key:
    return Key(path, Kind.TEXT, concept, PAGE, (), form)


TABLE: Final[tuple[Key, ...]] = (
    _key("SCONE_MODE", "simulation", MODES),
    _key("SCONE_HEAP", "memory", LETTERS),
    _key("SCONE_STACK", "stack", LETTERS),
    _key("SCONE_LOG", "log_level", LEVELS),
    _key("SCONE_FORK", "subprocesses", SWITCH),
    *(
        _key(f"SCONE_{name}")
        for name in (
            "ALLOW_DLOPEN", "ALPINE", "CAS_ADDR", "CONFIG", "CONFIG_ID", "ESPINS", "EXTENSIONS_PATH", "FSPF",
            "FSPF_KEY", "FSPF_TAG", "HASH", "LAS_ADDR", "LD_DEBUG", "MPROTECT", "QUEUES", "SERVICE_ACCESS_TOKEN",
            "SLOTS", "SSLEEP", "SSPINS", "VERSION",
        )
    ),
)  # fmt: skip
ELSE: Final = "SCONE's variables size the enclave and say how it runs; the session says what runs and who may be it"
CANNOT: Final[Mapping[str, str]] = {}


def read(text: str, name: str) -> Configuration:
    """The variables; PolicyError with file and line for one of SCONE's that has no sense."""
    draft = Draft(NAME, Sheet(read_environment(text, name), TABLE))
    draft.read_single(TABLE)
    return draft.finish()


def write(configuration: Configuration) -> str:
    """The lines of what can be said in them."""
    made = Values()
    made.put_single(TABLE, configuration)
    made.put_kept(configuration, NAME)
    return "".join(f"{name}={value}\n" for name, value in made.values.items())
