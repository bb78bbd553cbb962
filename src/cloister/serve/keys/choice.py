"""What `--kek` says.

file                STATE/kek, made at the first start
file=PATH           another file
tpm                 the TPM of this machine
tpm=TCTI            another, as tpm2-tss names it: device:/dev/tpmrm0, swtpm:path=SOCKET
kms=URL,ca=FILE,token=FILE     a key of Vault's or OpenBao's transit engine: https://HOST:8200/v1/transit/keys/NAME
"""

from pathlib import Path
from typing import Final

from cloister.broker.secrets_key import FileKey, KeyEncryption
from cloister.errors import UsageError
from cloister.serve.keys.tpm import TpmKey
from cloister.serve.keys.tpm_tools import DEFAULT_TCTI
from cloister.serve.keys.transit import TransitKey

__all__ = ["SPELLING", "kek_of"]

SPELLING: Final = "file[=PATH], tpm[=TCTI] or kms=URL,ca=FILE,token=FILE"


def kek_of(text: str, state: Path, *, make: bool = True) -> KeyEncryption:
    """The key-encryption key of these words. `make`: a file that is not there is made. UsageError."""
    kind, given, rest = text.partition("=")
    if kind == "file" and bool(given) == bool(rest):
        path = Path(rest).expanduser() if rest else state / "kek"
        if not make and not path.exists():
            raise UsageError(f"{path}: there is no such key")
        return FileKey.open(path)
    if kind == "tpm" and bool(given) == bool(rest):
        return TpmKey(rest or DEFAULT_TCTI)
    if kind == "kms" and rest:
        return _transit(rest)
    raise UsageError(f"--kek {text}: give {SPELLING}")


def _transit(text: str) -> TransitKey:
    url, *options = text.split(",")
    named = dict(one.partition("=")[::2] for one in options)
    if set(named) != {"ca", "token"} or len(options) != len(named) or not all(named.values()):
        raise UsageError("--kek kms=URL,ca=FILE,token=FILE: the certificates to believe, and the file with the token")
    return TransitKey(url=url, ca=Path(named["ca"]).expanduser(), token_file=Path(named["token"]).expanduser())
