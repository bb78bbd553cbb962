"""From registers to arguments a person can read. Decoders read memory, never write, and never raise on any value."""

from cloister.observe.trace.decode.arguments import KINDS, at_entry, at_return, not_returned, signature_of
from cloister.observe.trace.decode.results import result_text

__all__ = ["KINDS", "at_entry", "at_return", "not_returned", "result_text", "signature_of"]
