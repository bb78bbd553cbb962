"""An emulated processor with Intel SGX: EPC, EPCM, the ENCLS and ENCLU instructions, and the host's driver for them."""
