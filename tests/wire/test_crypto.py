"""Keys, tokens and signatures, against vectors taken from the network's own code."""

from __future__ import annotations

import pytest
from cryptography.fernet import Fernet
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa

from loosh_pipeline.errors import CryptoError
from loosh_pipeline.wire.crypto import (
    decrypt_symmetric_key,
    encrypt_symmetric_key,
    load_public_key,
    new_symmetric_key,
    parse_hotkey,
    public_pem,
    seal,
    unseal,
    verify_signature,
)
from tests.wire.peers import STRANGER, VALIDATOR, rsa_key

FERNET_KEY = b"AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8="
TOKEN = (
    b"gAAAAABnS6cAAAECAwQFBgcICQoLDA0OD_98rRWDL_XG7Of7uqQNbUsrmSFCLHbU-6VElvbdDJPGtJSixMlXHixkCqk_MZ7l7pUbqMH5u"
    b"AB-KZJsnqMCV_8="
)
SS58 = "5CcyqxXnJucaCnQQvvUg5EPzj1uoNAxACZvzArHw5aVDvgNH"


def test_fernet_vector_decrypts() -> None:
    assert unseal(FERNET_KEY, TOKEN) == b'{"id": "c-1", "prompt": "hi"}'


def test_old_token_is_refused_when_an_age_limit_is_given() -> None:
    with pytest.raises(CryptoError, match="too old"):
        unseal(FERNET_KEY, TOKEN, ttl_s=3600)


def test_seal_and_unseal_round_trip() -> None:
    key = new_symmetric_key()
    assert len(key) == 44
    assert unseal(key, seal(key, b"words"), ttl_s=10) == b"words"


@pytest.mark.parametrize("token", [b"", b"\xff\x00", TOKEN[:-1], TOKEN[:-5] + b"AAAA=", b"null"])
def test_tampered_token_is_refused(token: bytes) -> None:
    with pytest.raises(CryptoError):
        unseal(FERNET_KEY, token)


@pytest.mark.parametrize("key", [b"", b"short", b"A" * 44, bytes(32), b"\xff" * 44])
def test_what_is_no_fernet_key_is_refused(key: bytes) -> None:
    with pytest.raises(CryptoError, match="symmetric key"):
        seal(key, b"words")


def test_symmetric_key_travels_as_its_44_characters_in_256_bytes() -> None:
    public_key = load_public_key(public_pem(rsa_key()))
    ciphertext = encrypt_symmetric_key(public_key, FERNET_KEY)
    assert len(ciphertext) == 256
    assert decrypt_symmetric_key(rsa_key(), ciphertext) == FERNET_KEY


@pytest.mark.parametrize("modulus", [None, 2**2047], ids=["nearly a key", "a power of two"])
def test_key_with_an_even_modulus_is_refused_when_it_is_used(modulus: int | None) -> None:
    modulus = modulus or rsa_key().public_key().public_numbers().n - 1
    encoded = (
        rsa.RSAPublicNumbers(65537, modulus)
        .public_key()
        .public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
    )
    public_key = load_public_key(encoded.decode())
    with pytest.raises(CryptoError, match="cannot encrypt"):
        encrypt_symmetric_key(public_key, FERNET_KEY)


def test_ciphertext_for_another_key_is_refused() -> None:
    ciphertext = encrypt_symmetric_key(rsa_key().public_key(), FERNET_KEY)
    with pytest.raises(CryptoError, match="another public key"):
        decrypt_symmetric_key(rsa_key(1), ciphertext)


def test_raw_key_bytes_inside_the_ciphertext_are_refused() -> None:
    ciphertext = encrypt_symmetric_key(rsa_key().public_key(), bytes(32))
    with pytest.raises(CryptoError, match="Fernet key"):
        decrypt_symmetric_key(rsa_key(), ciphertext)


def _pem(key: rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey) -> str:
    encoded = key.public_key().public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
    return encoded.decode()


@pytest.mark.parametrize(
    "pem", ["", "nonsense", "é", "-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----", "x" * 5000]
)
def test_what_is_no_pem_is_refused(pem: str) -> None:
    with pytest.raises(CryptoError, match="public key"):
        load_public_key(pem)


@pytest.mark.parametrize("key", [rsa.generate_private_key(65537, 1024), ec.generate_private_key(ec.SECP256R1())])
def test_keys_of_other_kinds_are_refused(key: rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey) -> None:
    with pytest.raises(CryptoError, match="RSA-2048"):
        load_public_key(_pem(key))


def test_signatures_verify_for_their_signer_and_message_only() -> None:
    signature = VALIDATOR.sign(b"words")
    verify_signature(b"words", signature, VALIDATOR.ss58_address)
    with pytest.raises(CryptoError):
        verify_signature(b"other words", signature, VALIDATOR.ss58_address)
    with pytest.raises(CryptoError):
        verify_signature(b"words", signature, STRANGER.ss58_address)


@pytest.mark.parametrize(
    ("signature", "hotkey"), [(b"", SS58), (bytes(63), SS58), (bytes(64), "nobody"), (bytes(64), "")]
)
def test_signatures_that_cannot_be_checked_are_refused(signature: bytes, hotkey: str) -> None:
    with pytest.raises(CryptoError):
        verify_signature(b"words", signature, hotkey)


def test_hotkey_of_the_seed_vector() -> None:
    assert VALIDATOR.ss58_address == SS58
    assert VALIDATOR.public_key.hex() == "189dac29296d31814dc8c56cf3d36a0543372bba7538fa322a4aebfebc39e056"
    assert parse_hotkey(SS58) == SS58


@pytest.mark.parametrize(
    "text", ["", "hotkey", SS58[:-1], SS58 + "1", "1ZGzHnrAgt3eKQvtZXgDPE9aduT4UWJH4fUL9HHdfWk6nx3", "5" * 100]
)
def test_other_texts_and_other_formats_are_no_hotkeys(text: str) -> None:
    with pytest.raises(CryptoError, match="hotkey"):
        parse_hotkey(text)


def test_fernet_is_the_library_of_both_sides() -> None:
    key = new_symmetric_key()
    assert Fernet(key).decrypt(seal(key, b"words")) == b"words"
