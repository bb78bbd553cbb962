"""What others publish of their own speed: never measured here, and on other machines, other versions and other loads.

None of them can be installed from Debian, and the hardware that some need is rare. So these stand beside the table,
with their source, and never in it.
"""

from dataclasses import dataclass

__all__ = ["PUBLISHED", "Published", "as_text"]

GRAMINE = "https://github.com/gramineproject/gramine"


@dataclass(frozen=True, kw_only=True)
class Published:
    """A figure: whose, what it says, and where it can be read. `link` is empty where the source is not a page."""

    who: str
    figure: str
    source: str
    link: str


PUBLISHED = (
    Published(
        who="SCONE (SGX)", figure="0.6 to 1.2 of native throughput",
        source="Arnautov and others, SCONE: Secure Linux Containers with Intel SGX, OSDI 2016, abstract",
        link="https://www.usenix.org/conference/osdi16/technical-sessions/presentation/arnautov",
    ),
    Published(
        who="Gramine without SGX", figure="MariaDB under sysbench: 0.83 of native with 1 thread, 0.27 with 16",
        source="gramine issue 853", link=f"{GRAMINE}/issues/853",
    ),
    Published(
        who="Gramine on SGX", figure="the same: 0.55 with 1 thread, 0.27 with 16",
        source="gramine issue 853", link=f"{GRAMINE}/issues/853",
    ),
    Published(
        who="Gramine, fork", figure="up to 1,000 times the native cost, by studies that it does not name",
        source="gramine's documentation, performance.rst",
        link=f"{GRAMINE}/blob/v1.7/Documentation/performance.rst",
    ),
    Published(
        who="Gramine, PostgreSQL", figure="a run with about 500 forks: 3 hours instead of 5 minutes",
        source="gramine discussion 1281", link=f"{GRAMINE}/discussions/1281",
    ),
    Published(
        who="gVisor", figure="HTTP servers in node and ruby: 0.42 and 0.48 of runc's requests per second",
        source="google/gvisor, website/performance/applications.csv, without date or platform", link="",
    ),
)  # fmt: skip


def as_text() -> str:
    """A line for each, under a heading that says what they are not."""
    lines = [f"  {one.who}: {one.figure} ({one.source})" for one in PUBLISHED]
    return "\n".join(["Published by others of themselves, not measured here:", *lines, ""])
