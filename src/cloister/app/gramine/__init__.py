"""Secrets for programs in Gramine, by its own protocol: their secret-provisioning client works as it is.

protocol   the messages
gate       who is let in: the certificate's evidence, appraised in the handshake
service    the port that is listened on
"""
