"""An attester that speaks the KBS protocol.

    python kbs_client.py URL CA TEE RESOURCE PROGRAM

It makes a key, has evidence made over the challenge and the key (here: PROGRAM in an emulated machine), gets an
attestation result for it, and opens the secret that only its key opens. In a confidential virtual machine, Confidential
Containers' own agent does the same.
"""

import base64
import hashlib
import http.client
import json
import ssl
import subprocess
import sys
import tempfile
from pathlib import Path
from urllib.parse import urlsplit

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding, rsa
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

MACHINES = {"snp": "sev-snp"}
OAEP = padding.OAEP(mgf=padding.MGF1(hashes.SHA256()), algorithm=hashes.SHA256(), label=None)


def base64url(data: bytes) -> str:
    """As JOSE writes bytes."""
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def octets(text: str) -> bytes:
    """As JOSE reads them."""
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))


def evidence(tee: str, program: str, report_data: bytes) -> bytes:
    """Evidence of the program with these report data, from an emulated machine."""
    with tempfile.TemporaryDirectory() as directory:
        output = Path(directory, "evidence")
        command = ["attest", "--tee", MACHINES.get(tee, tee), "--keys", "keys", "--nonce", report_data.hex()]
        subprocess.run(["cloister", *command, "-o", str(output), program], check=True, capture_output=True)  # noqa: S607
        return output.read_bytes()


def main() -> None:
    """The three steps of the protocol."""
    url, ca, tee, resource, program = sys.argv[1:]
    where = urlsplit(url)
    server = http.client.HTTPSConnection(
        where.hostname or "", where.port, context=ssl.create_default_context(cafile=ca)
    )
    cookie = ""

    def call(method: str, path: str, message: object = None) -> dict[str, str]:
        nonlocal cookie
        body = None if message is None else json.dumps(message)
        server.request(method, f"/kbs/v0/{path}", body, {"cookie": cookie} if cookie else {})
        response = server.getresponse()
        cookie = response.headers.get("set-cookie", cookie).partition(";")[0]
        answer: dict[str, str] = json.loads(response.read())
        if response.status != http.client.OK:
            sys.exit(f"{response.status}: {answer['detail']}")
        return answer

    nonce = call("POST", "auth", {"version": "0.4.0", "tee": tee, "extra-params": ""})["nonce"]
    key = rsa.generate_private_key(65537, 3072)
    numbers = key.public_key().public_numbers()
    n, e = (base64url(number.to_bytes((number.bit_length() + 7) // 8)) for number in (numbers.n, numbers.e))
    runtime = {"nonce": nonce, "tee-pubkey": {"kty": "RSA", "alg": "RSA-OAEP-256", "n": n, "e": e}}
    bound = json.dumps({"additional-evidence": "", **runtime}, sort_keys=True, separators=(",", ":"))
    quote = evidence(tee, program, hashlib.sha384(bound.encode()).digest())
    found = {"primary_evidence": {"evidence": base64.b64encode(quote).decode()}, "additional_evidence": ""}
    call("POST", "attest", {"runtime-data": runtime, "tee-evidence": found})
    jwe = call("GET", f"resource/{resource}")
    content_key = key.decrypt(octets(jwe["encrypted_key"]), OAEP)
    sealed = octets(jwe["ciphertext"]) + octets(jwe["tag"])
    secret = AESGCM(content_key).decrypt(octets(jwe["iv"]), sealed, jwe["protected"].encode())
    print(secret.decode())


if __name__ == "__main__":
    main()
