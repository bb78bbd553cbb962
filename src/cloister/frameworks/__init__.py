"""Configurations of the frameworks that run programs in enclaves: read strictly, compared, written for one another.

    source.py      a file as values, each with its line
    table.py       the keys that a format documents, and their types; forms.py: sizes, switches, levels
    model.py       the nouns that the formats share
    gramine.py scone.py ego.py ...   one file per format: table, reader, writer; draft.py, writing.py: what all do
    formats.py     all formats by name; which one a file is in
    conversion.py  what one format cannot say of another
    danger.py      what is dangerous, and why; danger_keys.py: of single keys; danger_paths.py: of lists

Nothing here touches a file, a clock or a network: it takes and gives text.
"""

__all__: list[str] = []
