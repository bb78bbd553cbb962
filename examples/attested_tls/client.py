"""A client that speaks to one measured program only: httpx over attested TLS.

    python3 client.py https://127.0.0.1:8443/ --policy app.toml --root trust/roots.pem --endorsement trust/*.json

Without --root only the hardware vendors are believed, with the collateral that `cloister collateral` has stored.
"""

import argparse
import sys

import httpx

from cloister import Tee, TrustAnchors, Unchecked
from cloister.endorse import cache
from cloister.endorse.anchors import AnchorKind
from cloister.tls import PeerRefused, client_context, demand, refusal_in
from cloister.verification.recipe import CheckState
from cloister.verifier import read_anchors, read_endorsements


def main() -> int:
    """Ask, and print the answer or why there was none; the exit code is that of `cloister verify`."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("url")
    parser.add_argument("--policy")
    parser.add_argument("--root")
    parser.add_argument("--endorsement", nargs="*", default=[])
    args = parser.parse_args()
    anchors, endorsements = TrustAnchors.hardware(), cache.load() | read_endorsements(*args.endorsement)
    if args.root:
        roots, keys = read_anchors(args.root, kind=AnchorKind.TESTING, tees=Tee)
        anchors, endorsements = anchors | roots, endorsements | keys
    policy = args.policy or Unchecked("no policy was given, so nobody is good enough")
    demands = demand(policy, anchors=anchors, endorsements=endorsements, fresh=True)
    with httpx.Client(verify=client_context(demands)) as client:
        try:
            print(client.get(args.url).text, end="")
        except httpx.TransportError as error:
            refusal = refusal_in(error)
            if refusal is None:
                raise
            explain(refusal)
            return refusal.exit_code
    return 0


def explain(refusal: PeerRefused) -> None:
    """What was wrong with the server, check by check."""
    print(f"nothing was sent: {refusal}", file=sys.stderr)
    for one in refusal.checks:
        if one.state in {CheckState.FAILED, CheckState.UNDECIDED}:
            print(f"  {one.number} {one.title}: expected {one.expected}, found {one.actual}", file=sys.stderr)


if __name__ == "__main__":
    sys.exit(main())
