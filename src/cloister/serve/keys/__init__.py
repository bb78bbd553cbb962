"""Where the key-encryption key is: a file, a TPM, or a key service, each a `KeyEncryption` of the broker.

    choice.py      what `--kek` may say, and what it becomes
    opening.py     the database's keys, opened under it
    transit.py     a key service that speaks the transit API of HashiCorp Vault and OpenBao
    tpm.py         a TPM 2.0, by the programs of tpm2-tools
    changing.py    from one to another

They stand here and not in the broker: that decides about releases, and speaks neither to networks nor to devices.
"""
