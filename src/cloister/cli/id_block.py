"""ID blocks of SEV-SNP guests: sign what may be launched, look at it, verify it. Offline.

A host that is given an ID block launches nothing but the guest with that launch digest and policy: the security
processor refuses others, and its reports name the owner's keys (id_key_digest, author_key_digest). The launch digest
comes from `cloister measure --tee sev-snp --firmware`. Keys that are not in files sign outside: `prepare` writes what
is to be signed, `attach` takes the signatures.
"""

import argparse

from cloister.cli import _id_block_create, _id_block_show
from cloister.cli._actions import add_actions

__all__ = ["build_parser", "run"]

EPILOG = """\
examples:
  openssl ecparam -genkey -noout -name secp384r1 -out id.pem; chmod 600 id.pem
  cloister measure --tee sev-snp --firmware OVMF.fd --vcpus 4 --vcpu-type EPYC-v4 --json > guest.json
  cloister id-block create guest.json --id-key id.pem --block guest.block --auth guest.auth
  cloister id-block create guest.json --id-key id.pem --author-key author.pem --family-id shop --image-id web \\
      --guest-svn 3 --policy 0x30000 --block guest.block --auth guest.auth --json      base64, for QEMU
  cloister id-block prepare guest.json --id-public id.pub.pem --block guest.block --id-key-data id.key
  openssl dgst -sha384 -sign id.pem -out id.sig guest.block
  openssl dgst -sha384 -sign author.pem -out author.sig id.key
  cloister id-block attach guest.block --id-public id.pub.pem --id-signature id.sig --author-public author.pub.pem \\
      --author-signature author.sig --auth guest.auth
  cloister id-block verify guest.block guest.auth --measured guest.json

exit codes:
  0  written, shown; `verify`: signed, and for what is demanded
  2  the command line, a key, a measurement or a structure is wrong
  4  `verify`: signed, but for another guest or by another owner than demanded
  5  a signature does not hold: `attach` writes nothing
"""
ACTIONS = {
    "create": ("sign an ID block", _id_block_create.add_create, _id_block_create),
    "prepare": ("write the block, and what an author signs", _id_block_create.add_prepare, _id_block_create),
    "attach": ("put a block's signatures and keys together", _id_block_create.add_attach, _id_block_create),
    "view": ("show a block, and the keys with it", _id_block_show.add_view, _id_block_show),
    "verify": ("check the signatures, and what is demanded", _id_block_show.add_verify, _id_block_show),
}


def build_parser(parser: argparse.ArgumentParser) -> None:
    """Declare the actions of `cloister id-block` and their options."""
    add_actions(parser, EPILOG, {name: (summary, options) for name, (summary, options, _) in ACTIONS.items()})


def run(args: argparse.Namespace) -> int:
    """Do what was asked for and return the exit code."""
    code: int = ACTIONS[args.action][2].run(args)
    return code
