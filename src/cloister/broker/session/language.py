"""The language of sessions: every key, its shape and its meaning. The parser, the schema and the manual follow it.

Names are SCONE's (session language 0.3) where they mean the same; `hints` translate the others.
"""

from collections.abc import Mapping
from typing import Final

from cloister._yaml import Node, Scalar, wrong
from cloister.appraise.policy import TOLERABLE
from cloister.broker.session.grammar import Choice, Either, Field, Flag, Many, Pairs, Record, Text, Whole, Word
from cloister.broker.session.language_names import NAME, name
from cloister.broker.session.language_shield import shield
from cloister.model import Tee

__all__ = ["KINDS", "NAME", "SESSION", "SESSION_NAME", "VERSION", "Datum"]

VERSION: Final = "1"
"""Of this language."""
SESSION_NAME: Final = f"{NAME}(?:/{NAME}){{0,7}}"
KINDS: Final = ("ascii", "binary", "aes-key", "private-key", "x509", "jwt-key")


class Datum:
    """The value of a claim: true or false, a whole number, or text. Reads a bool, an int or a Word."""

    def read(self, node: Node) -> object:
        """The value, by how it is written."""
        if not isinstance(node, Scalar):
            raise wrong(node.place, "write one value: text in double quotes, a whole number, true or false")
        if node.plain and node.text in {"true", "false"}:
            return Flag().read(node)
        if node.plain and node.text.isdecimal():
            return Whole(0, 10**15 - 1).read(node)
        return Text(words="a value", longest=256).read(node)

    def schema(self) -> dict[str, object]:
        """One of three."""
        return {"anyOf": [Text(words="a value", longest=256).schema(), {"type": "integer"}, {"type": "boolean"}]}


session_name = Text(words="a session's name: names joined by `/`", pattern=SESSION_NAME, longest=256)
sha256 = Text(words="a SHA-256: 64 hexadecimal digits", pattern="[0-9a-fA-F]{64}")
digits = Text(words="hexadecimal digits, two for each byte", pattern="(?:[0-9a-fA-F]{2}){1,64}")
line = Text(words="text without a NUL", pattern=r"[^\x00]*")
path = Text(words="an absolute path without control characters", pattern=r"/[^\x00-\x1f\x7f]*", longest=1024)
pem = Text(words="a public key in PEM: the lines from BEGIN PUBLIC KEY to END PUBLIC KEY, below `key: |`", longest=2048,
           pattern=r"-----BEGIN PUBLIC KEY-----\n[A-Za-z0-9+/=\n]+\n-----END PUBLIC KEY-----\n?")  # fmt: skip
key_holder = Record({
    "name": Field(name, "what people call the holder", required=True),
    "key": Field(pem, "the holder's public key, PEM: Ed25519, P-256, P-384 or RSA", required=True),
})  # fmt: skip

SCONE_ATTESTATION: Final = {
    "mrenclave": "write `tee: sgx` and `measurement:`",
    "mrenclaves": "write `tee: sgx` and `measurement:` with a list",
    "mrsigner": "write `tee: sgx` and `signer:`",
    "isvprodid": "write `product:`",
    "isvsvn": "write `minimum_security_version:`",
    "isvsvn_min": "write `minimum_security_version:`",
}
attestation = Record(
    {
        "tee": Field(
            Choice(tuple(one for one in Tee if one is not Tee.TPM),
                   {"tpm": "a TPM measures what a machine booted, not one program; name the program's TEE"}),
            "the kind of TEE that must attest", required=True,
        ),
        "measurement": Field(Either(digits, Many(digits, 64)), "the launch measurement, or a list of accepted ones"),
        "signer": Field(digits, "who signed the program: SGX's MRSIGNER, SEV-SNP's ID_KEY_DIGEST"),
        "product": Field(Whole(0, 65535), "which of the signer's programs: SGX's ISVPRODID"),
        "minimum_security_version": Field(
            Whole(0, (1 << 32) - 1), "older versions of the program get nothing: SGX's ISVSVN, SEV-SNP's GUEST_SVN"
        ),
        "tolerate": Field(
            Many(Choice(tuple(sorted(TOLERABLE)), {
                "debug-mode": "write `unsafe_allow_debug: true`",
                "hyperthreading": "write ConfigurationNeeded",
                "outdated-tcb": "write OutOfDate",
                "software-hardening-needed": "write SWHardeningNeeded",
            }), 16),
            "TCB statuses of the platform, other than the best, that are tolerated",
        ),
        "ignore_advisories": Field(
            Many(Text(words="an advisory's name, like INTEL-SA-00615", pattern="[A-Z][A-Za-z0-9.-]{0,63}"), 64),
            "security advisories about the platform that do not matter here; all others do",
        ),
        "claims": Field(
            Pairs(Text(words="a claim's name, as in docs/policy-file.md", pattern="[a-z][a-z0-9_]{0,63}"), Datum(), 32),
            "other claims of the evidence, each with the one value that is accepted",
        ),
        "anchors": Field(
            Many(Choice(("hardware", "owner", "software")), 3),
            "who may vouch: hardware (the vendor; the default), owner (keys of a device's owner), software (a host)",
        ),
        "unsafe_allow_debug": Field(Flag(), "accept debug: the host reads and changes everything inside"),
        "unsafe_accept_testing": Field(Flag(), "accept emulated TEEs and test roots, which protect nothing"),
    },
    {**SCONE_ATTESTATION, "debug": "write `unsafe_allow_debug: true`"},
    {"anyOf": [{"required": ["measurement"]}, {"required": ["signer"]}]},
)  # fmt: skip

injection_file = Record(
    {
        "path": Field(path, "where the program finds the file; the host can see this name", required=True),
        "content": Field(Text(words="text", pattern=r"[\s\S]*", longest=64 << 10), "what is in it", required=True),
    }
)
service = Record(
    {
        "name": Field(name, "the service's name", required=True),
        "attestation": Field(
            Many(attestation, 32), "who may be this service; the entries are alternatives", required=True
        ),
        "command": Field(Either(line, Many(line, 256)), "the program and its arguments: words, or a list"),
        "arguments": Field(Many(line, 256), "further arguments, after those of `command`"),
        "environment": Field(
            Pairs(Text(words="a variable's name", pattern="[A-Za-z_][A-Za-z0-9_]{0,127}"), line, 256),
            "environment variables, which exist inside the TEE only",
        ),
        "pwd": Field(path, "the working directory; the host can see it"),
        "injection_files": Field(Many(injection_file, 64), "files that exist inside the TEE only"),
        "secrets": Field(Many(name, 64), "secrets that the service may ask for by name, beside those it refers to"),
        "shield": Field(shield, "which files, ports, destinations and console of the program are shielded"),
    },
    {
        "image_name": "Cloister has no images; name the program's measurement under `attestation`",
        "environment_vars": "write `environment:`",
        "files": "write `injection_files:`",
        "mrenclaves": "write `attestation:` with `tee: sgx` and `measurement:`",
        "platforms": "write `claims:` under `attestation`, such as `chip_id` or `platform_instance_id`",
        **dict.fromkeys(
            ("fspf_path", "fspf_key", "fspf_tag", "fspf_update_policy"),
            "SCONE's file shield is not understood here; write `shield:` with `files:`",
        ),
    },
)

generate = Record({
    "size": Field(Whole(16, 4096), "characters of ascii, bytes of binary"),
    "algorithm": Field(
        Choice(("AES-128", "AES-192", "AES-256", "P-256", "P-384", "Ed25519", "ES256", "ES384", "EdDSA")),
        "what kind of key; the default is AES-256, P-256 or ES256",
    ),
    "days": Field(Whole(1, 3650), "how long an x509 certificate is valid; the default is 90"),
    "common_name": Field(Text(words="text", pattern="[ -~]+", longest=64), "the subject of an x509 certificate"),
    "dns": Field(
        Many(Text(words="a DNS name", pattern=r"(?:\*\.)?[A-Za-z0-9-]+(?:\.[A-Za-z0-9-]+)*", longest=253), 32),
        "DNS names in an x509 certificate",
    ),
})  # fmt: skip
imported = Record({
    "session": Field(session_name, "the session that makes the secret, and exports it", required=True),
    "session_hash": Field(sha256, "only from this version of that session"),
    "secret": Field(name, "the secret's name there", required=True),
})  # fmt: skip
exported = Record({
    "session": Field(session_name, "who may import it", required=True),
    "session_hash": Field(sha256, "only this version of that session"),
})  # fmt: skip
secret = Record(
    {
        "name": Field(name, "the secret's name", required=True),
        "kind": Field(
            Choice(KINDS, {"jwt": "write jwt-key", "x509-ca": "write x509; authorities are not made here"}),
            "what it is", required=True,
        ),
        "value": Field(
            Text(words="a value", longest=16 << 10),
            "the secret itself: text for ascii, PEM for keys and certificates, `hex:...` or `base64:...` for bytes",
        ),
        "generate": Field(generate, "the broker makes it, and nobody else ever sees it"),
        "import": Field(imported, "another session makes it"),
        "export": Field(Many(Either(session_name, exported), 64), "sessions that may import it"),
    },
    {
        "size": "write `generate: { size: 32 }`",
        "key_type": "write `generate: { algorithm: P-256 }`",
        "private_key": "an x509 secret holds its own key",
        "issuer": "certificates made here are signed with their own key",
        "dns": "write `generate: { dns: [...] }`",
        "export_public": "a public part is not secret: publish it outside the session",
    },
    {"oneOf": [{"required": ["value"]}, {"required": ["generate"]}, {"required": ["import"]}]},
)  # fmt: skip

entity = Text(
    words="CREATOR, ANY, NONE, an owner's name, or the SHA-256 of a public key", pattern=f"{NAME}|[0-9a-fA-F]{{64}}"
)
access_policy = Record(
    {
        "read": Field(Many(entity, 64), "who may read the session, without the secrets' values; default CREATOR"),
        "update": Field(Many(entity, 64), "who may propose an update; default CREATOR"),
    },
    {"create_sessions": "namespaces have no rights here; remove it"},
)
approvals = Record({
    "threshold": Field(Whole(1, 32), "how many owners must sign an update before it takes effect", required=True),
    "owners": Field(Many(key_holder, 32), "the owners and their public keys", required=True),
})  # fmt: skip

SESSION: Final = Record(
    {
        "name": Field(session_name, "the session's name, such as `team/payroll`", required=True),
        "version": Field(Choice((VERSION,)), 'the version of this language: "1", in quotes', required=True),
        "predecessor": Field(sha256, "the hash of the session that this one replaces; absent in a first session"),
        "salt": Field(
            Text(words="32 to 64 hexadecimal digits", pattern="(?:[0-9a-fA-F]{2}){16,32}"),
            "random: with it the session's hash tells nothing of the values of secrets; needed if there are any",
        ),
        "services": Field(Many(service, 64), "the programs that get secrets"),
        "secrets": Field(Many(secret, 64), "the secrets"),
        "access_policy": Field(access_policy, "who may read and update the session"),
        "approvals": Field(approvals, "who must agree to updates"),
        "verifiers": Field(
            Many(key_holder, 16), "whose attestation results count; without it, those that the broker trusts"
        ),
    },
    {
        "volumes": "SCONE's volumes are not understood here; write `shield:` with `files:` under the service",
        "images": "write `injection_files:` under the service",
        "security": "write `tolerate:`, `ignore_advisories:` and `unsafe_...` under the service's `attestation`",
        "namespace_hash": "namespaces have no hash here; remove it",
    },
)


def spelled(values: Mapping[str, object]) -> dict[str, str | int | bool]:
    """The values of claims, without their places."""
    return {key: one.text if isinstance(one, Word) else one for key, one in values.items()}  # type: ignore[misc]
