"""Whole sessions, rules and attestation results for property tests: of few values, so that two of them often meet."""

from typing import Any

from hypothesis import strategies as st
from tests.forge.sessions import (
    MEASUREMENT,
    OTHER,
    SALT,
    SIGNER,
    public_pem,
)

from cloister.result.signing import SigningKey

__all__ = ["KEYS", "advisories", "documents", "rules"]

KEYS = [SigningKey.generate() for _ in range(3)]

measurements = st.sampled_from([MEASUREMENT, OTHER, [MEASUREMENT, OTHER], MEASUREMENT.upper()])
statuses = st.sampled_from([[], ["OutOfDate"], ["OutOfDate", "SWHardeningNeeded"]])
advisories = st.sampled_from([[], ["INTEL-SA-00001"], ["INTEL-SA-00001", "INTEL-SA-00002"]])


@st.composite
def rules(draw: st.DrawFn) -> dict[str, Any]:
    """One alternative for SGX, from few values so that two of them often meet."""
    made: dict[str, Any] = {"tee": "sgx"}
    by = draw(st.sampled_from(["measurement", "signer", "both"]))
    if by != "signer":
        made["measurement"] = draw(measurements)
    if by != "measurement":
        made |= {
            "signer": SIGNER,
            "product": draw(st.integers(6, 8)),
            "minimum_security_version": draw(st.integers(2, 4)),
        }
    if by == "measurement" and draw(st.booleans()):
        made["minimum_security_version"] = draw(st.integers(2, 4))
    tolerated = draw(statuses)
    if tolerated:
        made["tolerate"] = tolerated
        if ignored := draw(advisories):
            made["ignore_advisories"] = ignored
    if draw(st.booleans()):
        made["claims"] = {"configid": draw(st.sampled_from(["00", "01"]))}
    made["anchors"] = draw(st.sampled_from([["hardware"], ["hardware", "owner"], ["owner"]]))
    for key in ("unsafe_allow_debug", "unsafe_accept_testing"):
        if draw(st.integers(0, 3)) == 0:
            made[key] = True
    return made


secrets = st.one_of(
    st.fixed_dictionaries({"kind": st.just("ascii"), "generate": st.sampled_from([{}, {"size": 16}, {"size": 32}])}),
    st.fixed_dictionaries({"kind": st.just("aes-key"), "generate": st.sampled_from([{}, {"algorithm": "AES-128"}])}),
    st.fixed_dictionaries({"kind": st.just("ascii"), "value": st.sampled_from(["first value", "second value"])}),
    st.fixed_dictionaries({"kind": st.just("binary"), "value": st.just("hex:00ff00ff")}),
    st.fixed_dictionaries(
        {"kind": st.just("ascii"), "import": st.fixed_dictionaries({"session": st.just("b"), "secret": st.just("s")})}
    ),
    st.fixed_dictionaries({"kind": st.just("x509"), "generate": st.just({"common_name": "web", "dns": ["a.example"]})}),
)
exports = st.sampled_from([[], ["other"], [{"session": "other", "session_hash": "00" * 32}], ["other", "third"]])


@st.composite
def documents(draw: st.DrawFn) -> dict[str, Any]:
    """A whole session that is right."""
    made: dict[str, Any] = {"name": draw(st.sampled_from(["team/app", "app"])), "version": "1", "salt": SALT}
    names = ["one", "two", "three"][: draw(st.integers(1, 3))]
    made["secrets"] = [{"name": name, **draw(secrets)} for name in names]
    for secret in made["secrets"]:
        wanted = draw(exports)
        if wanted and "import" not in secret:
            secret["export"] = wanted
    made["services"] = [
        {
            "name": name,
            "attestation": draw(st.lists(rules(), min_size=1, max_size=3)),
            "secrets": draw(st.lists(st.sampled_from(names), min_size=1, max_size=3)),
            "environment": {"MODE": draw(st.sampled_from(["a", "b", "yes", "1", "", "é"]))},
        }
        for name in ["web", "job"][: draw(st.integers(1, 2))]
    ]
    if draw(st.booleans()):
        keys = draw(st.lists(st.sampled_from(KEYS), min_size=1, max_size=3, unique_by=id))
        people = [{"name": f"owner{KEYS.index(key)}", "key": public_pem(key)} for key in keys]
        made["approvals"] = {"threshold": draw(st.integers(1, len(keys))), "owners": people}
    if draw(st.booleans()):
        made["access_policy"] = {
            "read": draw(st.sampled_from([["CREATOR"], ["ANY"], ["NONE"], ["ab" * 32, "CREATOR"]]))
        }
    return made
