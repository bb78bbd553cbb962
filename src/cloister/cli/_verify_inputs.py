"""What `cloister verify` is given beside the evidence: whom to believe, collateral, policy."""

import argparse
import sys
from pathlib import Path

from cloister.cli._arguments import read_input
from cloister.cli._terminal import clean
from cloister.endorse import cache
from cloister.endorse.anchors import AnchorKind, TrustAnchors
from cloister.endorse.importing import LARGEST_FILE, import_files
from cloister.endorse.store import Endorsements
from cloister.errors import UsageError
from cloister.model import Tee
from cloister.verifier.trust_files import LONGEST_KEY, anchors_in

__all__ = ["add_trust_options", "anchors_and_keys", "anchors_named", "endorsements_of"]

WITHOUT_VENDOR = frozenset({Tee.CCA, Tee.KEYSTONE, Tee.TPM})
"""TEEs whose devices have no vendor's root that could be pinned here: their owner says which keys are theirs."""


def add_trust_options(parser: argparse.ArgumentParser) -> None:
    """The options that say when it is, whom to believe, and what may be overlooked: of `verify` and of `policy`."""
    parser.add_argument("--at", metavar="TIME", help="verify for this time (ISO 8601 or seconds since 1970), not now")
    parser.add_argument("--collateral", metavar="DIR", help="the collateral's cache (default: that of the user)")
    for option, what in (
        ("--endorsement", "a file of collateral: certificates, revocation lists, bundles; repeatable"),
        ("--trust-key", "believe this key or CA of a CCA platform, Keystone device or TPM (PEM); repeatable"),
        ("--trust-host-key", "believe this host's attestation key for software enclaves (PEM); repeatable"),
        ("--unsafe-trust-root", "believe this root for everything: emulators and tests; repeatable"),
    ):
        parser.add_argument(option, metavar="FILE", action="append", default=[], help=what)
    parser.add_argument(
        "--unsafe-allow-debug", action="store_true", help="accept debug enclaves: their host reads them"
    )
    parser.add_argument(
        "--unsafe-skip-revocation",
        action="store_true",
        help="accept chains without revocation lists: keys may be stolen",
    )


def anchors_named(args: argparse.Namespace) -> frozenset[AnchorKind]:
    """For policies in Rego, which do not speak of anchors: hardware, and what the options name."""
    named = {
        AnchorKind.HARDWARE: True,
        AnchorKind.OWNER: args.trust_key,
        AnchorKind.SOFTWARE: args.trust_host_key,
        AnchorKind.TESTING: args.unsafe_trust_root,
    }
    return frozenset(kind for kind, given in named.items() if given)


def anchors_and_keys(args: argparse.Namespace) -> tuple[TrustAnchors, Endorsements]:
    """The hardware vendors, and the keys that the caller trusts, which also have to be at hand."""
    anchors, given = TrustAnchors.hardware(), Endorsements()
    for files, kind, tees in (
        (args.trust_key, AnchorKind.OWNER, WITHOUT_VENDOR),
        (args.trust_host_key, AnchorKind.SOFTWARE, frozenset({Tee.SOFTWARE})),
        (args.unsafe_trust_root, AnchorKind.TESTING, frozenset(Tee)),
    ):
        for file in files:
            some, endorsements = anchors_in(read_input(file, LONGEST_KEY), file, kind=kind, tees=tees)
            anchors, given = anchors | some, given | endorsements
    return anchors, given


def endorsements_of(args: argparse.Namespace) -> Endorsements:
    """Collateral from the cache, and from the files given."""

    def report(message: str) -> None:
        print(f"collateral: {clean(message)}", file=sys.stderr)

    if args.collateral is not None and not Path(args.collateral).is_dir():
        raise UsageError(f"--collateral {args.collateral}: no such directory; `cloister collateral` makes and fills it")
    for name in args.endorsement:
        if Path(name).is_dir():
            raise UsageError(
                f"--endorsement {name} is a directory: --collateral takes one that `cloister collateral` filled"
            )
    kept = cache.load(None if args.collateral is None else Path(args.collateral), report=report)
    files = [(name, read_input(name, LARGEST_FILE)) for name in args.endorsement]
    return cache.endorsements(import_files(files)) | kept
