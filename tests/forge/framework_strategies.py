"""Strategies that make any configuration which some format can say."""

from typing import Any

from hypothesis import strategies as st

from cloister.frameworks.model import Backing, Configuration, Identity, MeasuredFile, Mount, Secret, Variable

__all__ = ["configurations"]

WORDS = st.text(st.characters(exclude_categories=["Cs", "Cc"], exclude_characters="@$"), max_size=12)
NAMES = st.from_regex(r"[A-Za-z_][A-Za-z0-9_]{0,8}", fullmatch=True).filter(lambda name: name != "PWD")
PARTS = st.from_regex(r"[a-z][a-z0-9_.-]{0,6}", fullmatch=True)
PATHS = st.lists(PARTS, min_size=1, max_size=3).map(lambda parts: "/" + "/".join(parts))
DIGESTS = st.integers(1, (1 << 256) - 1).map(lambda number: f"{number:064x}")
SMALL = st.integers(0, 65535)
SIZES = st.integers(1, 1 << 24).map(lambda pages: pages << 12)
SWITCHES = st.booleans()


TARGETS = st.sets(PATHS, max_size=2).map(lambda found: tuple(sorted(found)))


def _maybe(strategy: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    return st.none() | strategy


VARIABLES = st.builds(Variable, WORDS) | st.just(Variable(from_host=True)) | st.builds(Variable, WORDS, SWITCHES)
MOUNTS = st.one_of(
    st.builds(Mount, st.just(Backing.HOST), PATHS, st.none(), SWITCHES),
    st.builds(Mount, st.just(Backing.MAPPED), PATHS),
    st.builds(Mount, st.just(Backing.ENCRYPTED), PATHS, _maybe(NAMES)),
    st.just(Mount(Backing.MEMORY)),
)
IDENTITIES = st.lists(
    st.builds(Identity, DIGESTS) | st.builds(Identity, st.none(), DIGESTS, SMALL, SMALL), max_size=3
).map(lambda found: {str(number): one for number, one in enumerate(found, 1)})
SECRETS = st.one_of(
    st.builds(Secret, st.just("ascii"), st.integers(8, 64)),
    st.builds(Secret, st.just("ascii"), st.none(), st.text("abcdef", min_size=6, max_size=9)),
    st.builds(Secret, st.just("private-key"), algorithm=_maybe(st.sampled_from(["P-256", "Ed25519"]))),
)
FEATURES = st.dictionaries(
    st.sampled_from(["avx", "avx512", "amx", "pkru"]),
    st.sampled_from(["unspecified", "available", "disabled", "required"]),
)


def configurations() -> st.SearchStrategy[Configuration]:
    """Anything that some format can say."""
    return st.builds(
        Configuration,
        name=_maybe(PARTS),
        service=_maybe(PARTS),
        program=_maybe(PATHS),
        argument_zero=_maybe(PARTS),
        arguments=_maybe(st.lists(WORDS, max_size=3).map(tuple)),
        host_arguments=_maybe(SWITCHES),
        working_directory=_maybe(PATHS),
        environment=st.dictionaries(NAMES, VARIABLES, max_size=4),
        host_environment=_maybe(SWITCHES),
        measured_files=st.dictionaries(PATHS, st.builds(MeasuredFile, TARGETS, _maybe(DIGESTS)), max_size=4),
        directories=st.dictionaries(PATHS, st.just(""), max_size=2),
        links=st.dictionaries(PATHS, PATHS, max_size=2),
        host_files=st.dictionaries(PATHS, st.just(""), max_size=2),
        injected_files=st.dictionaries(PATHS, _maybe(WORDS), max_size=2),
        mounts=st.dictionaries(PATHS, MOUNTS, max_size=3),
        memory=_maybe(SIZES),
        stack=_maybe(SIZES),
        threads=_maybe(SMALL),
        dynamic_memory=_maybe(SWITCHES),
        subprocesses=_maybe(SWITCHES),
        executable_heap=_maybe(SWITCHES),
        debug=_maybe(SWITCHES),
        product_id=_maybe(SMALL),
        security_version=_maybe(SMALL),
        family_id=_maybe(st.integers(0, (1 << 128) - 1).map(lambda number: f"{number:032x}")),
        attestation=_maybe(st.sampled_from(["none", "dcap", "epid", "maa"])),
        simulation=_maybe(SWITCHES),
        cpu_features=FEATURES,
        log_level=_maybe(st.sampled_from(["none", "error", "warning", "debug", "trace", "all"])),
        identities=IDENTITIES,
        tolerated=st.dictionaries(
            st.sampled_from(["SWHardeningNeeded", "OutOfDate", "ConfigurationNeeded", "INTEL-SA-00334"]), st.just("")
        ),
        accept_debug=_maybe(SWITCHES),
        secrets=st.dictionaries(NAMES, SECRETS, max_size=2),
        readers=_maybe(st.just(("CREATOR",))),
        updaters=_maybe(st.just(("CREATOR",))),
    )
