"""What is shielded: a policy as people write it, and the block that the runtime is told (docs/formats/shield.md).

    words     the kinds of regions and carriage, by name and by number
    block     the block: entries, their bytes, and back
    policy    what a file says, with the places of keys instead of the keys
    reading   a document (TOML, or YAML of a session) as a policy
    section   one table of a document, read strictly
    resolve   a policy and its keys as a block
    remarks   what a policy protects, and what is dangerous in it

Pure: files, brokers and their keys are the callers'.
"""

__all__: list[str] = []
