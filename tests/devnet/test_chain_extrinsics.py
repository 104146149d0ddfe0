"""Extrinsics and payloads as the SDK's own vectors have them (recorded on a node of spec version 461)."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from loosh_pipeline.devnet.chain.extrinsics import Era, parse_extrinsic
from loosh_pipeline.devnet.chain.scale import compact

ALICE = "5GrwvaEF5zXb26Fz9rcQpDWS57CtERHpNehXCPcNoHGKutQY"
CALL = "0503008eaf04151687736326c9fea17e25fc5287613693c912909cb226aa4794f26a48e5c0"
SIGNATURE = bytes(range(1, 65)).hex()
SIGNER = "8400d43593c715fdd31c61141abd04a99fd6822c8558854ccde39a5684e7a56da27d01" + SIGNATURE
IMMORTAL = bytes.fromhex("3102" + SIGNER + "00000000" + CALL)
MORTAL = bytes.fromhex("3502" + SIGNER + "25002c0000" + CALL)
GENESIS = bytes.fromhex("1dc00e76a13fc48b9c932e076622c5920295afaad4fd805c284a5cf3222ce452")
BORN = bytes.fromhex("d9f2d5c7e6b387e32b3f41d7808094cc966fbbbbd4709d96471c52d9b1a2b2aa")


def test_a_recorded_extrinsic_is_taken_apart() -> None:
    immortal, mortal = parse_extrinsic(IMMORTAL), parse_extrinsic(MORTAL)
    assert immortal.hash == "0x2da12d35e770dbfe53a2c66c76d5c6d21f64f99fcbda35a757c021cc41ace46b"
    assert (immortal.address, immortal.nonce, immortal.tip, immortal.era) == (ALICE, 0, 0, None)
    assert (immortal.signature.hex(), immortal.call.hex()) == (SIGNATURE, CALL)
    assert mortal.hash == "0xb5e1c30f6da7e2a335003ba340581245c07ca75ee128421679a09eb46bc7bb54"
    assert (mortal.nonce, mortal.era) == (11, Era(period=64, phase=2))


def test_the_payload_is_the_recorded_one() -> None:
    mortal = parse_extrinsic(bytes.fromhex("3502" + SIGNER + "25000c0000" + CALL))
    expected = CALL + "25000c0000" + "cd01000001000000" + GENESIS.hex() + BORN.hex() + "00"
    assert mortal.payload(461, GENESIS, BORN).hex() == expected


def test_a_long_payload_is_hashed() -> None:
    body = bytes.fromhex(SIGNER + "00000000") + bytes(300)
    assert len(parse_extrinsic(compact(len(body)) + body).payload(461, GENESIS, GENESIS)) == 32


@pytest.mark.parametrize(
    ("raw", "problem"),
    [
        (IMMORTAL + b"\0", "length prefix says"),
        (b"", "bytes end"),
        (IMMORTAL[:2] + b"\x04" + IMMORTAL[3:], "a signed extrinsic of version 4 is expected"),
        (IMMORTAL[:3] + b"\x01" + IMMORTAL[4:], "an account id as address is expected"),
        (IMMORTAL[:36] + b"\x00" + IMMORTAL[37:], "an sr25519 signature is expected"),
        (IMMORTAL[:104] + b"\x01" + IMMORTAL[105:], "no metadata hash is expected"),
        (compact(40) + IMMORTAL[2:42], "64 bytes wanted"),
    ],
)
def test_what_is_malformed_is_named(raw: bytes, problem: str) -> None:
    with pytest.raises(ValueError, match=problem):
        parse_extrinsic(raw)


@given(st.binary(max_size=200))
def test_no_bytes_break_the_parser(raw: bytes) -> None:
    try:
        parse_extrinsic(compact(len(raw)) + raw)
    except ValueError:
        return
    assert raw[0] == 0x84


@given(st.sampled_from([4, 64, 128]), st.integers(0, 500), st.integers(0, 400))
def test_an_era_lives_for_its_period(period: int, born: int, later: int) -> None:
    era = Era(period, born % period)
    assert era.birth(born) == born
    assert era.alive(born + later, born + later) == (era.birth(born + later) <= born + later)
    assert not era.alive(born, born + period)
    assert era.alive(born, born + period - 1)
