"""How two clients come to a common secret over a server that reads along, and seal what they send each other."""

from __future__ import annotations

import hashlib
from typing import Protocol

from clbench.errors import ConfigError, RefusedError
from clbench.federated.secure.field import Generator, available

KEY = 32
"""Bytes of a key, secret or public."""
TAG = 16
"""Bytes by which what is sealed is longer."""


class Suite(Protocol):
    """The cryptography that all parties of a sum use."""

    generator: Generator
    """Of the masks."""

    def public(self, secret: bytes) -> bytes:
        """Return the public key of a secret one."""

    def agree(self, secret: bytes, public: bytes, purpose: str) -> bytes:
        """Return the 32 bytes that the owners of two pairs of keys share; the same from either side."""

    def seal(self, key: bytes, sender: int, receiver: int, plain: bytes) -> bytes:
        """Return what only the receiver can open; once per key and direction."""

    def open(self, key: bytes, sender: int, receiver: int, sealed: bytes) -> bytes:
        """Return what was sealed.

        Raises:
            RefusedError: it was changed, or is of or for another.
        """


class X25519:
    """X25519 and ChaCha20-Poly1305 of the package `cryptography`, which Flower brings along."""

    generator: Generator = "aes"

    def __init__(self) -> None:
        """See whether the package is there."""
        if available() != "aes":
            raise ConfigError("secure sums among processes need the package cryptography", "pip install 'clbench[federated]'")

    def public(self, secret: bytes) -> bytes:
        """Return the public key of a secret one; any 32 bytes are one."""
        from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey

        return X25519PrivateKey.from_private_bytes(secret).public_key().public_bytes_raw()

    def agree(self, secret: bytes, public: bytes, purpose: str) -> bytes:
        """Return the hash of the Diffie-Hellman secret with both public keys and the purpose.

        Raises:
            RefusedError: the public key is of those that give the same secret with everyone's.
        """
        from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey

        private = X25519PrivateKey.from_private_bytes(secret)
        try:
            shared = private.exchange(X25519PublicKey.from_public_bytes(public))
        except ValueError as error:
            raise RefusedError("a public key that some client got has no secret in common with any other") from error
        return _hash(purpose, shared, *sorted([public, private.public_key().public_bytes_raw()]))

    def seal(self, key: bytes, sender: int, receiver: int, plain: bytes) -> bytes:
        """Encrypt and authenticate; the nonce is the sender, as both directions have one key."""
        from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305

        return ChaCha20Poly1305(key).encrypt(sender.to_bytes(12), plain, receiver.to_bytes(12))

    def open(self, key: bytes, sender: int, receiver: int, sealed: bytes) -> bytes:
        """Decrypt what is authentic."""
        from cryptography.exceptions import InvalidTag
        from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305

        try:
            return ChaCha20Poly1305(key).decrypt(sender.to_bytes(12), sealed, receiver.to_bytes(12))
        except InvalidTag as error:
            raise RefusedError(f"client {receiver} cannot open what came as client {sender}'s shares") from error


class Simulated:
    """All steps and bytes of the real thing, and no secrecy: a public key is the secret one, nothing is encrypted.

    For many clients in one process, who have no secrets from each other anyway. Masks are as uniform as ever.
    """

    def __init__(self) -> None:
        """Take the faster generator of masks: there is one process, so that all parties have the same."""
        self.generator: Generator = available()

    def public(self, secret: bytes) -> bytes:
        """Return the secret itself."""
        return secret

    def agree(self, secret: bytes, public: bytes, purpose: str) -> bytes:
        """Return a hash of both secrets and the purpose."""
        return _hash(purpose, *sorted([secret, public]))

    def seal(self, key: bytes, sender: int, receiver: int, plain: bytes) -> bytes:
        """Return the same bytes, and as many more as a tag has."""
        return plain + bytes(TAG)

    def open(self, key: bytes, sender: int, receiver: int, sealed: bytes) -> bytes:
        """Return what was sealed."""
        return sealed[:-TAG]


def _hash(purpose: str, *parts: bytes) -> bytes:
    """Return 32 bytes; the parts are of fixed lengths, so that no two lists of them read alike."""
    return hashlib.sha256(b"".join([f"clbench secure sum, {purpose}:".encode(), *parts])).digest()
