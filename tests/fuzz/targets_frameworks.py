"""Targets of configurations that people bring from other frameworks."""

from collections.abc import Callable
from typing import Final

from tests.fuzz.law import Broken, Reader

from cloister.errors import PolicyError, UsageError
from cloister.frameworks.conversion import convert
from cloister.frameworks.danger import findings
from cloister.frameworks.formats import FORMATS, detect, read_configuration

__all__ = ["FRAMEWORKS"]

SMALL: Final = 4096
"""Bytes of files that are converted too, which takes several times as long as reading them."""
COVERS: Final = {
    "gramine": ("frameworks.gramine.read", "frameworks.source.read_toml_file"),
    "scone": ("frameworks.scone.read", "frameworks.source.read_yaml_file"),
    "scone-env": ("frameworks.scone_environment.read", "frameworks.source.read_environment"),
    "ego": ("frameworks.ego.read", "frameworks.source.read_json"),
    "occlum": ("frameworks.occlum.read", "frameworks.source.read_json"),
    "occlum-bom": ("frameworks.occlum_bom.read", "frameworks.source.read_yaml_file"),
    "sgx-sdk": ("frameworks.sgx_sdk.read", "frameworks.source.read_xml"),
    "cloister-session": ("frameworks.cloister_files.read_session", "frameworks.source.read_yaml_file"),
    "cloister-manifest": ("frameworks.cloister_files.read_manifest", "frameworks.source.read_toml_file"),
    "cloister-shield": ("frameworks.cloister_shield.read", "frameworks.source.read_toml_file"),
}


def reads(form: str) -> Callable[[bytes], object]:
    """Read in one format; say what is dangerous; write again, and read that."""

    def read(data: bytes) -> object:
        text = data.decode("utf-8", "replace")
        found = read_configuration(text, "x", form)
        findings(found)
        if len(data) > SMALL:
            return found
        again = convert(found, form)
        if again.losses:
            raise Broken(f"{form} loses {again.losses[0].item} on the way to itself")
        convert(found, list(FORMATS)[len(data) % len(FORMATS)])
        return found

    return read


def recognised(data: bytes) -> object:
    """Which format it is in."""
    return detect(data.decode("utf-8", "replace"), "x")


FRAMEWORKS: Final[dict[str, tuple[Reader, ...]]] = {
    "configuration": (
        *(
            Reader(
                covers=(*covers, "frameworks.formats.read_configuration"), read=reads(form),
                refusals=(PolicyError, UsageError),
            )
            for form, covers in COVERS.items()
        ),
        Reader(covers=("frameworks.formats.detect",), read=recognised, refusals=(PolicyError,)),
    ),
}  # fmt: skip
