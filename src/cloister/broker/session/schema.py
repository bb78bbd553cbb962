"""The JSON schema of sessions, for editors and for other programs: docs/formats/session.schema.json.

Generated from the language that the parser follows. Whatever the parser accepts, the schema accepts; the parser knows
more: references, names that must exist, values that must not stand in the open, what YAML readers disagree about.
"""

from cloister.broker.session.language import SESSION

__all__ = ["json_schema"]


def json_schema() -> dict[str, object]:
    """The schema (JSON Schema 2020-12)."""
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "Cloister session",
        "description": "Which attested program gets which secrets, who may change that, and who must agree.",
        **SESSION.schema(),
    }
