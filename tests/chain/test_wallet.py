from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import bittensor_core
import pytest
from typer.testing import CliRunner

from loosh_pipeline.chain.wallet import create_wallet, hotkey_file, load_signer
from loosh_pipeline.cli import app
from loosh_pipeline.errors import ConfigError


def test_a_new_wallet_lies_in_the_standard_place_and_signs(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    created = create_wallet(tmp_path, "w", "h")
    directory = tmp_path / "w"
    assert created.directory == directory
    assert created.coldkey_created
    files = {str(file.relative_to(directory)): file for file in directory.rglob("*") if file.is_file()}
    assert files.keys() >= {"coldkey", "coldkeypub.txt", "hotkeys/h"}
    assert {file.stat().st_mode & 0o777 for file in files.values()} == {0o600}
    secret = json.loads(files["hotkeys/h"].read_text())["secretPhrase"]
    assert secret not in "".join(capfd.readouterr()), "a mnemonic reached the terminal"

    (directory / "coldkey").unlink()  # signing never reads it
    signer = load_signer(tmp_path, "w", "h")
    assert signer.ss58_address == created.hotkey
    signature = signer.sign(b"message")
    assert len(signature) == 64
    assert bittensor_core.verify(b"message", signature, signer.ss58_address, 1)
    assert not bittensor_core.verify(b"another", signature, signer.ss58_address, 1)
    assert secret not in repr(signer)


def test_nothing_is_overwritten_and_a_coldkey_is_kept(tmp_path: Path) -> None:
    first = create_wallet(tmp_path, "w", "h")
    before = (tmp_path / "w/hotkeys/h").read_bytes()
    with pytest.raises(ConfigError, match="hotkeys/h exists already and is not overwritten"):
        create_wallet(tmp_path, "w", "h")
    assert (tmp_path / "w/hotkeys/h").read_bytes() == before
    (tmp_path / "w/coldkey").unlink()  # as on a validator, which holds coldkeypub only
    second = create_wallet(tmp_path, "w", "h2")
    assert (second.coldkey, second.coldkey_created) == (first.coldkey, False)
    assert second.hotkey != first.hotkey
    assert not (tmp_path / "w/coldkey").exists()


@pytest.mark.parametrize("name", ["", "..", "a/b"])
def test_names_are_plain_file_names(tmp_path: Path, name: str) -> None:
    with pytest.raises(ConfigError, match="is not a wallet or hotkey name"):
        create_wallet(tmp_path, name, "h")
    with pytest.raises(ConfigError, match="is not a wallet or hotkey name"):
        load_signer(tmp_path, "w", name)


def test_a_directory_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "taken").write_text("a file, not a directory")
    with pytest.raises(ConfigError, match=r"cannot create a wallet in .*taken/w"):
        create_wallet(tmp_path / "taken", "w", "h")


def test_the_hotkeys_that_there_are_come_first(tmp_path: Path) -> None:
    create_wallet(tmp_path, "mine", "first")
    (tmp_path / "mine/hotkeys/firstpub.txt").write_text("")
    with pytest.raises(ConfigError, match=r"; there are mine/first: set .* or run `loosh wallet new`"):
        load_signer(tmp_path, "mine", "frist")


def public_only() -> bytes:
    keypair = bittensor_core.Keypair.create_from_uri("//nobody")
    return json.dumps({"ss58Address": keypair.ss58_address, "publicKey": "0x" + keypair.public_key.hex()}).encode()


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (None, "there is no hotkey file"),
        (b"", "holds no usable private hotkey"),
        (b"{}", "holds no usable private hotkey"),
        (public_only(), "holds no usable private hotkey"),
        (b"$NACL" + bytes(64), "is encrypted"),
        (
            bytes(
                bittensor_core.serialized_keypair_to_keyfile_data(
                    bittensor_core.Keypair.create_from_uri("//x", bittensor_core.CRYPTO_ED25519)
                )
            ),
            "holds no sr25519 key",
        ),
    ],
)
def test_an_unusable_hotkey_names_the_file_and_what_to_do(tmp_path: Path, content: bytes | None, problem: str) -> None:
    file = hotkey_file(tmp_path, "w", "h")
    if content is not None:
        file.parent.mkdir(parents=True)
        file.write_bytes(content)
    with pytest.raises(ConfigError, match=f"{problem}.*loosh wallet new") as raised:
        load_signer(tmp_path, "w", "h")
    assert str(file) in str(raised.value)


def test_signing_does_not_import_the_sdk(tmp_path: Path) -> None:
    create_wallet(tmp_path, "w", "h")
    program = (
        "import sys, pathlib; from loosh_pipeline.chain.wallet import load_signer; "
        "load_signer(pathlib.Path(sys.argv[1]), 'w', 'h').sign(b''); assert 'bittensor' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", program, str(tmp_path)], check=True, env=os.environ, timeout=20)


def test_the_command_that_makes_a_wallet_prints_addresses_and_no_secret(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    result = CliRunner().invoke(app, ["wallet", "new"], env={"WALLET_PATH": str(tmp_path), "COLUMNS": "200"})
    assert result.exit_code == 0, result.output
    shown = result.output + "".join(capfd.readouterr())
    keys = [
        json.loads(file.read_text())
        for file in (tmp_path / "validator/hotkeys/validator", tmp_path / "validator/coldkey")
    ]
    assert all(key["ss58Address"] in shown for key in keys)
    for name in ("secretPhrase", "secretSeed", "privateKey"):
        assert all(key[name].removeprefix("0x") not in shown for key in keys)
