"""The SGX SDK's Enclave.config.xml, which `sgx_sign` puts into the enclave's metadata. Occlum writes one, too.

Elements: linux-sgx, sdk/sign_tool/SignTool (parse_key_file.cpp and manage_metadata.cpp), and the Developer Reference,
"Enclave Configuration File". All values are numbers, decimal or hexadecimal.
"""

from collections.abc import Mapping
from typing import Final

from cloister.frameworks.draft import Draft, Values
from cloister.frameworks.forms import HEXADECIMAL, INVERTED, NUMBER, PLAIN, Form
from cloister.frameworks.model import Configuration
from cloister.frameworks.source import read_xml
from cloister.frameworks.table import Key, Kind, Sheet

__all__ = ["CANNOT", "ELSE", "NAME", "ROOT", "TABLE", "read", "write"]

NAME: Final = "sgx-sdk"
ROOT: Final = "EnclaveConfiguration"
SOURCE: Final = "Intel SGX Developer Reference for Linux, Enclave Configuration File"


def _key(path: str, concept: str = "", form: Form = PLAIN) -> Key:
    return Key(path, Kind.TEXT, concept, SOURCE, (), form)


TABLE: Final[tuple[Key, ...]] = (
    _key("ProdID", "product_id", NUMBER),
    _key("ISVSVN", "security_version", NUMBER),
    _key("StackMaxSize", "stack", HEXADECIMAL),
    _key("StackMinSize"),
    _key("HeapMaxSize", "memory", HEXADECIMAL),
    _key("HeapInitSize"),
    _key("HeapMinSize"),
    _key("HeapExecutable"),
    _key("TCSNum", "threads", NUMBER),
    _key("TCSMaxNum"),
    _key("TCSMinPool"),
    _key("TCSPolicy"),
    _key("DisableDebug", "debug", INVERTED),
    _key("MiscSelect"),
    _key("MiscMask"),
    _key("EnableKSS"),
    _key("ISVEXTPRODID_H", "extended_product_id"),
    _key("ISVEXTPRODID_L", "extended_product_id"),
    _key("ISVFAMILYID_H", "family_id"),
    _key("ISVFAMILYID_L", "family_id"),
    _key("ReservedMemMaxSize"),
    _key("ReservedMemInitSize"),
    _key("ReservedMemMinSize"),
    _key("ReservedMemExecutable"),
    _key("UserRegionSize"),
    _key("MarshalBufferSize"),
    _key("PKRU", "cpu_features"),
    _key("AMX", "cpu_features"),
)
APART: Final = frozenset({"extended_product_id", "family_id", "cpu_features"})
SINGLE: Final = tuple(key for key in TABLE if key.concept not in APART)
IDS: Final = {"extended_product_id": "ISVEXTPRODID", "family_id": "ISVFAMILYID"}
FEATURES: Final = ("disabled", "required", "available")
ELSE: Final = "it configures an enclave's layout and identity only: the rest is the program's own"
CANNOT: Final[Mapping[str, str]] = {}


def read(text: str, name: str) -> Configuration:
    """An Enclave.config.xml; PolicyError with file and line if it is none."""
    sheet = Sheet(read_xml(text, name, ROOT), TABLE)
    draft = Draft(NAME, sheet)
    draft.read_single(SINGLE)
    separated = _number(draft, "EnableKSS") == 1
    for field, element in IDS.items():
        high, low = _number(draft, f"{element}_H") or 0, _number(draft, f"{element}_L") or 0
        if separated:
            draft.set(field, f"{high << 64 | low:032x}", f"{element}_H")
    for element in ("PKRU", "AMX"):
        wanted = _number(draft, element)
        if wanted is not None:
            if wanted >= len(FEATURES):
                raise sheet.error((element,), "is 0 (off), 1 (on) or 2 (if the processor has it)")
            draft.add("cpu_features", element.lower(), FEATURES[wanted], element)
    return draft.finish()


def _number(draft: Draft, element: str) -> int | None:
    text = draft.sheet.text(element)
    try:
        found = None if text is None else int(text, 0)
    except ValueError:
        found = -1
    if found is not None and not 0 <= found < 1 << 64:
        raise draft.sheet.error((element,), "is a whole number of at most 64 bits, decimal or 0x and hexadecimal")
    return found


def write(configuration: Configuration) -> str:
    """An Enclave.config.xml of what can be said in one."""
    made = Values()
    made.put_single(SINGLE, configuration)
    for field, element in IDS.items():
        number = getattr(configuration, field)
        if number is not None:
            made.put((f"{element}_H",), f"0x{number[:16]}")
            made.put((f"{element}_L",), f"0x{number[16:]}")
            made.put(("EnableKSS",), "1")
    for feature, wanted in configuration.cpu_features.items():
        if feature in {"amx", "pkru"} and wanted in FEATURES:
            made.put((feature.upper(),), str(FEATURES.index(wanted)))
    made.put_kept(configuration, NAME)
    made.put_needed({"DisableDebug": "1"})
    order = [key.path for key in TABLE]
    names = sorted(made.values, key=lambda name: order.index(name) if name in order else len(order))
    lines = (f"  <{name}>{made.values[name]}</{name}>" for name in names)
    return "\n".join([f"<{ROOT}>", *lines, f"</{ROOT}>"]) + "\n"
