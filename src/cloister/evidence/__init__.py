"""Bytes in, parsed evidence out, or ParseError. Pure: no keys, no clock, no files, no network.

One file per TEE; `envelope` recognises and splits the containers that evidence travels in.
"""

__all__: list[str] = []
