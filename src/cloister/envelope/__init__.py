"""The containers that evidence travels in: `open_envelope(bytes)` recognises them and takes out what is inside.

Hexadecimal, base64, PEM; CMW in JSON and CBOR; RA-TLS certificates; Open Enclave's headers; AMD's certificate table;
configfs-tsm; the JSON of Trustee and dstack. Nothing is verified here, and nothing is decompressed.
"""

from cloister.envelope.bindings import Binding, ClaimsBinding, DataBinding, KeyBinding, KeyForm
from cloister.envelope.contents import LARGEST, Envelope, Opening
from cloister.envelope.recognise import recognise
from cloister.errors import ParseError

__all__ = ["LARGEST", "Binding", "ClaimsBinding", "DataBinding", "Envelope", "KeyBinding", "KeyForm", "open_envelope"]


def open_envelope(data: bytes) -> Envelope:
    """The evidence in `data`, which may be wrapped in up to 6 layers, and what came along with it.

    ParseError if it is no known format, or broken; offsets in it count within the layer that it names.
    """
    if len(data) > LARGEST:
        raise ParseError("Envelope", "size", 0, f"{len(data)} bytes; at most {LARGEST}")
    opened = recognise(data, Opening(recognise)).bounded()
    if not opened.parts:
        raise ParseError("Envelope", "parts", 0, "endorsements, but no evidence")
    return opened
