"""Key agreement and encryption between two clients, whose messages pass through the server."""

from __future__ import annotations

import hashlib
from typing import Protocol

from clbench.errors import ConfigError, RefusedError
from clbench.federated.secure.field import Generator, available

KEY = 32
"""Bytes of a key, secret or public."""
TAG = 16
"""Bytes that sealing adds to a message."""


class Suite(Protocol):
    """The cryptography that all parties of a sum use."""

    generator: Generator
    """The generator of the masks."""

    def public(self, secret: bytes) -> bytes:
        """Return the public key of a secret one."""

    def agree(self, secret: bytes, public: bytes, purpose: str) -> bytes:
        """Return the 32 bytes that the owners of two pairs of keys share. Both sides get the same bytes."""

    def seal(self, key: bytes, sender: int, receiver: int, plain: bytes) -> bytes:
        """Return a message that only the receiver can open. Seal once per key and direction."""

    def open(self, key: bytes, sender: int, receiver: int, sealed: bytes) -> bytes:
        """Return the plain message.

        Raises:
            RefusedError: the sealed message was changed, or has another sender or receiver.
        """


class X25519:
    """X25519 and ChaCha20-Poly1305 of the package `cryptography`, which Flower installs."""

    generator: Generator = "aes"

    def __init__(self) -> None:
        """Check that the package is installed."""
        if available() != "aes":
            raise ConfigError("secure sums among processes need the package cryptography", "pip install 'clbench[federated]'")

    def public(self, secret: bytes) -> bytes:
        """Return the public key of a secret key. Any 32 bytes are a secret key."""
        from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey

        return X25519PrivateKey.from_private_bytes(secret).public_key().public_bytes_raw()

    def agree(self, secret: bytes, public: bytes, purpose: str) -> bytes:
        """Return the hash of the Diffie-Hellman secret with both public keys and the purpose.

        Raises:
            RefusedError: the public key is one of the weak keys that give the same secret with any other key.
        """
        from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey

        private = X25519PrivateKey.from_private_bytes(secret)
        try:
            shared = private.exchange(X25519PublicKey.from_public_bytes(public))
        except ValueError as error:
            raise RefusedError("some client got a weak public key, which gives no secret") from error
        return _hash(purpose, shared, *sorted([public, private.public_key().public_bytes_raw()]))

    def seal(self, key: bytes, sender: int, receiver: int, plain: bytes) -> bytes:
        """Encrypt and authenticate. The nonce is the sender, because both directions have one key."""
        from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305

        return ChaCha20Poly1305(key).encrypt(sender.to_bytes(12), plain, receiver.to_bytes(12))

    def open(self, key: bytes, sender: int, receiver: int, sealed: bytes) -> bytes:
        """Decrypt a message, if it is authentic."""
        from cryptography.exceptions import InvalidTag
        from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305

        try:
            return ChaCha20Poly1305(key).decrypt(sender.to_bytes(12), sealed, receiver.to_bytes(12))
        except InvalidTag as error:
            raise RefusedError(f"client {receiver} cannot open the shares that came under client {sender}'s name") from error


class Simulated:
    """All steps and bytes of the real protocol without secrecy: a public key equals the secret key, nothing is encrypted.

    For many clients in one process, which have no secrets from each other anyway. Masks are uniform, as in the real protocol.
    """

    def __init__(self) -> None:
        """Take the fastest generator of masks. All parties are in one process, so they have the same one."""
        self.generator: Generator = available()

    def public(self, secret: bytes) -> bytes:
        """Return the secret itself."""
        return secret

    def agree(self, secret: bytes, public: bytes, purpose: str) -> bytes:
        """Return a hash of both secrets and the purpose."""
        return _hash(purpose, *sorted([secret, public]))

    def seal(self, key: bytes, sender: int, receiver: int, plain: bytes) -> bytes:
        """Return the same bytes, followed by as many bytes as a tag has."""
        return plain + bytes(TAG)

    def open(self, key: bytes, sender: int, receiver: int, sealed: bytes) -> bytes:
        """Return the plain message."""
        return sealed[:-TAG]


def _hash(purpose: str, *parts: bytes) -> bytes:
    """Return 32 bytes. The parts have fixed lengths, so that two lists of parts never join to the same bytes."""
    return hashlib.sha256(b"".join([f"clbench secure sum, {purpose}:".encode(), *parts])).digest()
