"""The owner's session: which attested program gets which secrets, who may change that, and who must agree.

`read.py` makes a `Session` from YAML, `canonical.py` gives its identity, `difference.py` says what an update changes,
`approval.py` counts the owners who agree, `secret_maker.py` makes what the session says is to be made, `exchange.py`
lets sessions share it, and `provision.py` puts it where a service finds it. `cloister.broker.release` decides who gets
it.
"""

__all__: list[str] = []
