"""Did both arms do the same. Their secrets differ, so their outputs may: what is compared leaves variable parts out.

Shape: each line with every word that holds a digit or the secret replaced by `#`, blanks aside. "Hash of your input:
2084933351" and "Hash of your input: 77" have one shape. Process ids, times, addresses and digests fall away too; words,
their order and the number of lines must agree.
"""

import hashlib
import re

from cloister.observe.prove.plan import Comparison
from cloister.observe.prove.record import Check, Output
from cloister.observe.prove.secret import Secret

__all__ = ["compare_outputs", "reduce_output"]

VARIABLE = re.compile(r"[0-9#]")
BINARY = "(binary)"


def reduce_output(stdout: bytes, stderr: bytes, secret: Secret) -> Output:
    """What is kept of an arm's output: sizes, the shape of standard output and its digest without the secret."""
    plain = stdout.replace(secret.value, b"#")
    return Output(
        stdout_bytes=len(stdout),
        stderr_bytes=len(stderr),
        shape=shape(plain),
        digest=hashlib.sha256(plain).hexdigest(),
    )


def shape(output: bytes) -> tuple[str, ...]:
    """One entry per line; output that is not UTF-8 text has the single entry `(binary)`."""
    try:
        text = output.decode("utf-8")
    except UnicodeDecodeError:
        return (BINARY,)
    return tuple(
        " ".join("#" if VARIABLE.search(word) else word for word in line.split()) for line in text.splitlines()
    )


def compare_outputs(native: Output, enclaved: Output, comparison: Comparison) -> Check:
    """Whether the outputs agree, and if not, where the first difference is (its line number, not its text)."""
    if comparison is Comparison.NONE:
        return Check(holds=True, detail="not compared, as asked (--compare none)")
    if comparison is Comparison.EXACT:
        same = native.digest == enclaved.digest
        detail = "equal byte for byte" if same else f"differs: {native.stdout_bytes} and {enclaved.stdout_bytes} bytes"
        return Check(holds=same, detail=f"{detail} (the secret itself left out)")
    return compare_shapes(native.shape, enclaved.shape)


def compare_shapes(native: tuple[str, ...], enclaved: tuple[str, ...]) -> Check:
    """Line by line."""
    if native == enclaved:
        detail = "both binary" if native == (BINARY,) else f"{len(native)} lines of one shape"
        return Check(holds=True, detail=detail)
    if len(native) != len(enclaved):
        return Check(holds=False, detail=f"native printed {len(native)} lines, enclaved {len(enclaved)}")
    line = next(number for number, pair in enumerate(zip(native, enclaved, strict=True), 1) if pair[0] != pair[1])
    return Check(holds=False, detail=f"line {line} of the output differs")
