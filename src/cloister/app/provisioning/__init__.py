"""Secrets over connections whose client is attested in the handshake, by the certificate that it shows.

gate       who is let in: the certificate's evidence, appraised in the handshake
port       the port that is listened on
gramine    what Gramine's secret-provisioning client says there
http       HTTP, for whatever has attested TLS: EGo's and Open Enclave's programs, this library
"""
