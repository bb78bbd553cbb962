"""Full flows a second (auth, attest, release) of `cloister serve`: `python -m benchmarks.serve [--seconds N]`.

The server is what `cloister serve --workers N` runs; the clients are two processes on the same machine, which make and
sign their evidence while the clock runs. So that it shows what the servers can do by themselves, their own processor
time is measured too. Configurations alternate: every round measures each of them once.
"""

import argparse
import json
import os
import sys
from statistics import median

from benchmarks.serve.measure import ATTESTERS, Measured, crypto_share, measure

CLIENTS = (1, 8, 64)


def main() -> None:
    """Every configuration, as a table and, if asked, as JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=5.0)
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--workers", type=int, action="append", help="processes (default: 1 and the number of cores)")
    parser.add_argument("--json", action="store_true")
    args = parser.parse_args()
    counts = args.workers or sorted({1, os.cpu_count() or 1})
    plans = [(name, count, clients, False) for name in ATTESTERS for count in counts for clients in CLIENTS]
    plans += [(name, count, 8, True) for name in ATTESTERS for count in counts]
    found: dict[tuple[str, int, int, bool], list[Measured]] = {plan: [] for plan in plans}
    for number in range(args.rounds):
        for plan in plans:
            found[plan].append(measure(*plan, args.seconds))
            print(f"{number + 1}  {found[plan][-1].line()}", file=sys.stderr)
    print("evidence  workers clients  connection  flows/s (spread)   p50 ms   p99 ms  server ms (spread)  client ms")
    for plan in plans:
        print(summary(found[plan]))
    for name in ATTESTERS:
        whole, crypto = crypto_share(name)
        print(f"{name}: appraisal and release without HTTP and disk {whole:.2f} ms, cryptography {crypto:.2f}")
    if args.json:
        every = [one for some in found.values() for one in some]
        print(json.dumps([{name: getattr(one, name) for name in one.__slots__} for one in every]))


def summary(some: list[Measured]) -> str:
    """The medians, with the smallest and the largest of what varies most."""
    flows, spent = [one.flows_per_second for one in some], [one.server_ms for one in some]
    p50, p99, clients = (median(getattr(one, name) for one in some) for name in ("p50", "p99", "client_ms"))
    return (
        f"{some[0].name()} {median(flows):>7.0f} ({min(flows):.0f}-{max(flows):.0f}) {p50:>8.2f} {p99:>8.2f}"
        f" {median(spent):>6.2f} ({min(spent):.2f}-{max(spent):.2f}) {clients:>6.2f}"
    )


if __name__ == "__main__":
    main()
