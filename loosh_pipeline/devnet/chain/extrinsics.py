"""Signed extrinsics: taken apart byte by byte, and their signature checked over the payload so rebuilt.

The layout is that of the runtime's signed extensions: `era, nonce, tip, metadata mode` travel with the extrinsic;
spec version, transaction version, genesis hash, era block hash and metadata hash are only signed.
"""

from __future__ import annotations

from dataclasses import dataclass

from loosh_pipeline.devnet.chain.runtime import SS58_FORMAT, TRANSACTION_VERSION, blake2_256
from loosh_pipeline.devnet.chain.scale import read_compact, take

SIGNED_V4 = 0x84
_ADDRESS_ID = 0
_SR25519 = 1
_METADATA_HASH_OFF = 0
_HASHED_ABOVE = 256


@dataclass(frozen=True, slots=True)
class Era:
    """How long an extrinsic lives: from the block of `phase` within `period`, for `period` blocks."""

    period: int
    phase: int

    def birth(self, current: int) -> int:
        """The block the era starts at, seen from `current`."""
        return (max(current, self.phase) - self.phase) // self.period * self.period + self.phase

    def alive(self, current: int, including: int) -> bool:
        """Whether block `including` may hold the extrinsic."""
        birth = self.birth(current)
        return birth <= current and including < birth + self.period


@dataclass(frozen=True, slots=True)
class SignedExtrinsic:
    """One signed extrinsic. `extra` is the signed part that travels with it, as raw bytes."""

    raw: bytes
    address: str
    signature: bytes
    era: Era | None
    nonce: int
    tip: int
    extra: bytes
    call: bytes

    @property
    def hash(self) -> str:
        return "0x" + blake2_256(self.raw).hex()

    def payload(self, spec_version: int, genesis_hash: bytes, era_hash: bytes) -> bytes:
        """What was signed; hashed when long, by the convention of Substrate."""
        payload = (
            self.call
            + self.extra
            + spec_version.to_bytes(4, "little")
            + TRANSACTION_VERSION.to_bytes(4, "little")
            + genesis_hash
            + era_hash
            + bytes([_METADATA_HASH_OFF])
        )
        return blake2_256(payload) if len(payload) > _HASHED_ABOVE else payload

    def verified(self, spec_version: int, genesis_hash: bytes, era_hash: bytes) -> bool:
        from bittensor_core import verify

        payload = self.payload(spec_version, genesis_hash, era_hash)
        return bool(verify(payload, self.signature, self.address, _SR25519))


def parse_extrinsic(raw: bytes) -> SignedExtrinsic:
    """Raises `ValueError` that says which part is malformed or not supported."""
    from bittensor_core import ss58_encode

    length, at = read_compact(raw, 0)
    if length != len(raw) - at:
        raise ValueError(f"length prefix says {length} bytes, {len(raw) - at} follow")
    _expect(raw, at, SIGNED_V4, "a signed extrinsic of version 4")
    _expect(raw, at + 1, _ADDRESS_ID, "an account id as address")
    public_key, at = take(raw, at + 2, 32), at + 34
    _expect(raw, at, _SR25519, "an sr25519 signature")
    signature, extra_from = take(raw, at + 1, 64), at + 65
    era, at = _read_era(raw, extra_from)
    nonce, at = read_compact(raw, at)
    tip, at = read_compact(raw, at)
    _expect(raw, at, _METADATA_HASH_OFF, "no metadata hash")
    call_from = at + 1
    return SignedExtrinsic(
        raw=raw,
        address=ss58_encode(public_key, SS58_FORMAT),
        signature=signature,
        era=era,
        nonce=nonce,
        tip=tip,
        extra=raw[extra_from:call_from],
        call=raw[call_from:],
    )


def _expect(raw: bytes, at: int, value: int, what: str) -> None:
    found = take(raw, at, 1)[0]
    if found != value:
        raise ValueError(f"byte {at} is {found:#04x}, not {value:#04x}: {what} is expected")


def _read_era(raw: bytes, at: int) -> tuple[Era | None, int]:
    if take(raw, at, 1) == b"\0":
        return None, at + 1
    encoded = int.from_bytes(take(raw, at, 2), "little")
    period = 2 << (encoded % 16)
    phase = (encoded >> 4) * max(period >> 12, 1)
    if period < 4 or phase >= period:
        raise ValueError(f"mortal era {encoded:#06x} has period {period} and phase {phase}")
    return Era(period, phase), at + 2
