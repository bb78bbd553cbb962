"""Recorded evidence for `cloister policy init --from` and `policy test`: authenticated, not yet appraised."""

import argparse
from pathlib import Path

from cloister.cli._arguments import read_input, time_of
from cloister.cli._verify_inputs import anchors_and_keys, endorsements_of
from cloister.envelope import LARGEST, open_envelope
from cloister.model import Unchecked
from cloister.verification.recipe import Allowances
from cloister.verifier import Authentic, Verifier

__all__ = ["authenticated", "verifier_of"]

RECORDED = Unchecked("this evidence was recorded earlier: it answers no challenge of ours")


def verifier_of(args: argparse.Namespace) -> Verifier:
    """A verifier with the anchors and collateral that the options give."""
    anchors, keys = anchors_and_keys(args)
    return Verifier(anchors=anchors, endorsements=endorsements_of(args) | keys)


def authenticated(verifier: Verifier, file: str | Path, args: argparse.Namespace) -> Authentic:
    """Everything in a file, verified. Freshness is not asked for: the evidence is a recording."""
    allow = Allowances(unsafe_allow_debug=args.unsafe_allow_debug, unsafe_skip_revocation=args.unsafe_skip_revocation)
    envelope = open_envelope(read_input(str(file), LARGEST))
    return verifier.authenticate(envelope, at=time_of(args.at), challenge=RECORDED, allow=allow)
