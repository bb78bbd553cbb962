"""Sign SGX enclaves, and look at what their authors signed: SIGSTRUCT, offline.

An enclave starts only with a SIGSTRUCT for its measurement, under an RSA-3072 key with exponent 3. The hash of that key
is MRSIGNER. The image is measured here (as by `cloister measure --with`) or its MRENCLAVE given. A key that is not in a
file, or under a password, signs outside: `prepare` writes the 256 bytes, `attach` takes the signature.
"""

import argparse

from cloister.cli import _sigstruct_attach, _sigstruct_create, _sigstruct_show
from cloister.cli._actions import add_actions

__all__ = ["build_parser", "run"]

EPILOG = """\
examples:
  openssl genrsa -3 -out key.pem 3072; chmod 600 key.pem
  cloister sigstruct create --key key.pem --with gramine --loader libpal.so app.manifest.sgx -o app.sig
  cloister sigstruct create --key key.pem --mrenclave 00ff... --isvprodid 7 --isvsvn 2 -o enclave.sig
  cloister sigstruct prepare --mrenclave 00ff... -o unsigned        with a key in a device:
  openssl dgst -sha256 -sign key.pem -out signature unsigned        ... any tool that signs PKCS #1 v1.5 with SHA-256
  cloister sigstruct attach unsigned --signature signature --public-key key.pub.pem -o enclave.sig
  cloister sigstruct embed enclave.sig enclave -o enclave.signed      Open Enclave, EGo, SGX SDK
  cloister sigstruct view enclave.signed.so
  cloister sigstruct verify app.sig --mrsigner 00ff...
  cloister sigstruct signer key.pem                                 prints sgx:mrsigner=...

exit codes:
  0  signed, written, shown; `verify`: the signature holds, and everything is as demanded
  2  the command line, a key, an image or the SIGSTRUCT is wrong
  4  `verify`: signed, but for another enclave or by another author than demanded
  5  the signature does not hold: `attach` writes nothing
"""
ACTIONS = {
    "create": ("measure an image, or take its MRENCLAVE, and sign it", _sigstruct_create.add_create, _sigstruct_create),
    "prepare": ("write what a device is to sign", _sigstruct_create.add_prepare, _sigstruct_create),
    "attach": ("put what was prepared and its signature together", _sigstruct_attach.add_options, _sigstruct_attach),
    "embed": ("put a SIGSTRUCT into an image", _sigstruct_attach.add_embed, _sigstruct_attach),
    "view": ("show the fields of a SIGSTRUCT, or of a signed image's", _sigstruct_show.add_view, _sigstruct_show),
    "verify": ("check signature, q1 and q2, and what is demanded", _sigstruct_show.add_verify, _sigstruct_show),
    "signer": ("print the MRSIGNER of a key", _sigstruct_attach.add_signer, _sigstruct_attach),
}


def build_parser(parser: argparse.ArgumentParser) -> None:
    """Declare the actions of `cloister sigstruct` and their options."""
    add_actions(parser, EPILOG, {name: (summary, options) for name, (summary, options, _) in ACTIONS.items()})


def run(args: argparse.Namespace) -> int:
    """Do what was asked for and return the exit code."""
    code: int = ACTIONS[args.action][2].run(args)
    return code
