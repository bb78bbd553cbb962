"""A hospital's own desk: it makes its key, encrypts its table, and writes the session that says who may have the key.

    python encrypt_table.py HOSPITAL STUDY-HASH

It writes table.csv, which stays in the hospital, session.yaml, which goes to the broker, and table.enc, which may go
anywhere. The numbers are invented. The key is exported to one version of the study's session, to nothing else.
"""

import os
import random
import secrets
import sys
from pathlib import Path

from cryptography.hazmat.primitives.ciphers.aead import AESGCM

PATIENTS = 120
NONCE = 12
SESSION = """\
# The key of this hospital's table. It goes to the study's session, in the one version that the hospital has read.
name: {hospital}/table
version: "1"
salt: "{salt}"

secrets:
  - name: table-key
    kind: aes-key
    value: "hex:{key}"
    export:
      - session: study/statistics
        session_hash: "{study}"

access_policy:
  read: [NONE]
  update: [NONE]
"""


def table() -> str:
    """Invented patients: a number, their age, whether they were treated, by how many mmHg their blood pressure fell."""
    numbers = random.SystemRandom()
    lines = ["patient,age,treated,reduction"]
    for _ in range(PATIENTS):
        age, treated = numbers.randint(35, 85), numbers.randint(0, 1)
        reduction = numbers.gauss(12.0 if treated else 5.0, 4.0)
        lines.append(f"{numbers.randint(10**7, 10**8 - 1)},{age},{treated},{reduction:.4f}")
    return "\n".join(lines) + "\n"


def write(path: Path, content: bytes) -> None:
    """A file for nobody else."""
    path.touch(mode=0o600)
    path.write_bytes(content)


def main() -> None:
    """Everything that happens in the hospital."""
    hospital, study = sys.argv[1:]
    text, key, nonce = table().encode(), AESGCM.generate_key(256), os.urandom(NONCE)
    write(Path("table.csv"), text)
    write(Path("table.enc"), nonce + AESGCM(key).encrypt(nonce, text, None))
    session = SESSION.format(hospital=hospital, salt=secrets.token_hex(16), key=key.hex(), study=study)
    write(Path("session.yaml"), session.encode())
    print(f"{hospital}: {PATIENTS} patients, encrypted; the key is for the study's session {study[:16]}... only")


if __name__ == "__main__":
    main()
