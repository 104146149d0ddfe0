"""The cryptography of the fiber protocol: RSA-OAEP for keys, Fernet for payloads, sr25519 for identity.

What is RSA-encrypted is the 44-byte ASCII Fernet key itself, not the 32 bytes it encodes; signatures are
over the UTF-8 bytes of a text, with nothing hashed first. Every refusal is a `CryptoError`.
"""

from __future__ import annotations

import base64
import binascii
from typing import Protocol

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.fernet import Fernet, InvalidToken
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import padding, rsa

from loosh_pipeline.errors import CryptoError
from loosh_pipeline.hotkeys import SS58_FORMAT as SS58_FORMAT
from loosh_pipeline.hotkeys import parse_hotkey as parse_hotkey
from loosh_pipeline.hotkeys import verify_signature as verify_signature

RSA_BITS = 2048
CIPHERTEXT_BYTES = RSA_BITS // 8
SIGNATURE_BYTES = 64
MAX_PEM_CHARS = 4096

_FERNET_KEY_CHARS = 44
_OAEP = padding.OAEP(mgf=padding.MGF1(hashes.SHA256()), algorithm=hashes.SHA256(), label=None)


class Signer(Protocol):
    """Whatever signs as one hotkey: a bittensor keypair, or a process that guards one."""

    @property
    def ss58_address(self) -> str: ...

    def sign(self, message: bytes, /) -> bytes:
        """The 64-byte sr25519 signature (substrate context) of `message`."""
        ...


def generate_private_key() -> rsa.RSAPrivateKey:
    """A fresh RSA-2048 key with exponent 65537. Takes about a tenth of a second."""
    return rsa.generate_private_key(public_exponent=65537, key_size=RSA_BITS)


def public_pem(private_key: rsa.RSAPrivateKey) -> str:
    """The public half as PEM SubjectPublicKeyInfo."""
    encoded = private_key.public_key().public_bytes(
        serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    return encoded.decode("ascii")


def load_public_key(pem: str) -> rsa.RSAPublicKey:
    """The RSA-2048 key in `pem`. Raises CryptoError for any other text, algorithm or size."""
    if len(pem) > MAX_PEM_CHARS:
        raise CryptoError(f"public key has {len(pem)} characters; a PEM of RSA-{RSA_BITS} has about 450")
    try:
        key = serialization.load_pem_public_key(pem.encode("ascii"))
    except (ValueError, UnsupportedAlgorithm) as error:
        raise CryptoError(f"public key is not a PEM that can be read: {str(error)[:120]}") from error
    if not isinstance(key, rsa.RSAPublicKey) or key.key_size != RSA_BITS:
        size = getattr(key, "key_size", "")
        raise CryptoError(f"public key is {type(key).__name__} {size}; the protocol uses RSA-{RSA_BITS}")
    return key


def new_symmetric_key() -> bytes:
    """A fresh Fernet key: 44 bytes of url-safe base64."""
    return Fernet.generate_key()


def encrypt_symmetric_key(public_key: rsa.RSAPublicKey, symmetric_key: bytes) -> bytes:
    """The Fernet key under the peer's RSA key: 256 bytes.

    Raises CryptoError for a key that can be read but encrypts nothing, such as one with an even modulus.
    """
    try:
        return public_key.encrypt(symmetric_key, _OAEP)
    except ValueError as error:
        raise CryptoError(f"public key cannot encrypt: {str(error)[:120]}; the peer has to make a new one") from error


def decrypt_symmetric_key(private_key: rsa.RSAPrivateKey, ciphertext: bytes) -> bytes:
    """The Fernet key in `ciphertext`. Raises CryptoError when it was made for another key or is none."""
    try:
        key = private_key.decrypt(ciphertext, _OAEP)
    except ValueError as error:
        raise CryptoError("symmetric key cannot be decrypted; it was made for another public key") from error
    _fernet(key)
    return key


def seal(symmetric_key: bytes, plaintext: bytes) -> bytes:
    """`plaintext` as a Fernet token stamped with the present time. Raises CryptoError on a bad key."""
    return _fernet(symmetric_key).encrypt(plaintext)


def unseal(symmetric_key: bytes, token: bytes, *, ttl_s: int | None = None) -> bytes:
    """The plaintext of a Fernet token, no older than `ttl_s` if that is given. Raises CryptoError."""
    try:
        return _fernet(symmetric_key).decrypt(token, ttl=ttl_s)
    except InvalidToken as error:
        raise CryptoError(f"payload of {len(token)} bytes is not a token of this key, or is too old") from error


def _fernet(symmetric_key: bytes) -> Fernet:
    try:
        if len(symmetric_key) != _FERNET_KEY_CHARS or len(base64.urlsafe_b64decode(symmetric_key)) != 32:
            raise ValueError(f"{len(symmetric_key)} bytes")
        return Fernet(symmetric_key)
    except (binascii.Error, ValueError) as error:
        raise CryptoError(f"symmetric key is not a Fernet key of {_FERNET_KEY_CHARS} characters: {error}") from error
