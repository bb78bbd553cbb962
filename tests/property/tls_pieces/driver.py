"""The TLS engine's cryptography as a program to ask: as the runtime has it, and under the compiler's sanitizers."""

import atexit
import functools
import shutil
import tempfile
from pathlib import Path

from tests.unit.runtime_crypto_driver import HOSTED, RUNTIME, SANITIZED, Driver, need_compiler, run, runtime_flags

__all__ = ["HERE", "INCLUDED", "SOURCES", "VECTORS", "Driver", "build", "objects"]

HERE = Path(__file__).parent
SOURCES = (
    *(RUNTIME / "src" / f"{name}.c" for name in ("sha2", "hmac", "x25519", "text")),
    *(
        RUNTIME / "tls" / f"{name}.c"
        for name in (
            "comb", "curve", "curve_constants", "der_read", "der_write", "ecdsa", "ed25519", "edwards", "exchange",
            "field", "jacobian", "key_names", "keys", "nonce", "ra_certificate", "rsa", "rsa_private", "rsa_pss",
            "x509",
        )
    ),
)  # fmt: skip
VECTORS = ("-O2", "-maes", "-mpclmul", "-mssse3", "-msse4.1")
INCLUDED = (f"-I{RUNTIME / 'tls'}", f"-I{HERE}")


def objects(place: Path, *flags: str) -> list[Path]:
    """The sources as the runtime has them, and `flags` besides, compiled into `place`."""
    need_compiler()
    for source in SOURCES:
        run("cc", *runtime_flags(), *flags, "-c", "-o", place / f"{source.stem}.o", source)
    return [place / f"{source.stem}.o" for source in SOURCES]


@functools.cache
def build(*, sanitized: bool) -> Path:
    """The driver, compiled once a session; sanitized with the C library's memcpy, which the sanitizers watch."""
    need_compiler()
    place = Path(tempfile.mkdtemp(prefix="tls-pieces-"))
    atexit.register(shutil.rmtree, place, ignore_errors=True)
    watched = SANITIZED if sanitized else []
    sources = [*SOURCES[:3], *SOURCES[4:]] if sanitized else objects(place)
    hosted = [*HOSTED, *watched, *INCLUDED]
    run("cc", *hosted, *VECTORS, "-c", "-o", place / "gcm.o", RUNTIME / "volume" / "aes_gcm.c")
    run("cc", *hosted, "-o", place / "driver", HERE / "driver.c", HERE / "keys.c", place / "gcm.o", *sources)
    return place / "driver"
