"""The validator's keys, in the standard place and format: `<path>/<wallet>/hotkeys/<hotkey>`, JSON, mode 0600.

Signing needs the hotkey alone and reads it with `bittensor_core`, which imports in milliseconds; the whole SDK is
imported only to create a wallet. The coldkey's private file is never read.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from loosh_pipeline.domain import Coldkey, Hotkey
from loosh_pipeline.errors import ConfigError, CryptoError
from loosh_pipeline.owners import when_denied
from loosh_pipeline.wire.crypto import parse_hotkey

_SR25519 = 1
MOST_NAMED = 6
_NEW_WALLET = (
    "run `loosh wallet new`, or set WALLET_PATH, WALLET_NAME and HOTKEY_NAME to an existing one "
    "(`loosh devnet` prints those of its own)"
)


@dataclass(frozen=True, slots=True)
class HotkeySigner:
    """A signer over the hotkey's keypair; its representation holds no secret."""

    ss58_address: str
    keypair: Any = field(repr=False, compare=False)

    def sign(self, message: bytes) -> bytes:
        return bytes(self.keypair.sign(message))


@dataclass(frozen=True, slots=True)
class WalletInfo:
    """Where a wallet is and which addresses it holds. `coldkey_created`: its private file lies there too."""

    directory: Path
    name: str
    hotkey_name: str
    hotkey: Hotkey
    coldkey: Coldkey
    coldkey_created: bool


def hotkey_file(path: Path, name: str, hotkey: str) -> Path:
    """The standard place of a hotkey. Raises `ConfigError` for names that are not plain file names."""
    for part in (name, hotkey):
        if not part or part in (".", "..") or "/" in part:
            raise ConfigError(f"{part!r} is not a wallet or hotkey name; use letters, digits, - and _")
    return path.expanduser() / name / "hotkeys" / hotkey


def create_wallet(path: Path, name: str, hotkey: str) -> WalletInfo:
    """Create a hotkey, and a coldkey when the wallet has none; nothing is ever overwritten or printed.

    The new coldkey lies unencrypted in `coldkey` (mode 0600): on a real network, move it off this machine and keep
    `coldkeypub.txt`. Raises `ConfigError` when the hotkey exists already or the directory cannot be written.
    """
    file = hotkey_file(path, name, hotkey)
    if file.exists():
        raise ConfigError(f"{file} exists already and is not overwritten; choose another hotkey name")
    from bittensor import Wallet

    wallet = Wallet(name, hotkey, str(path.expanduser()))
    has_coldkey = wallet.coldkey_file.exists_on_device() or wallet.coldkeypub_file.exists_on_device()
    try:
        if not has_coldkey:
            wallet.create_new_coldkey(use_password=False, suppress=True)
        wallet.create_new_hotkey(use_password=False, suppress=True)
        coldkey = wallet.coldkeypub.ss58_address
    except OSError as error:
        raise ConfigError(f"cannot create a wallet in {file.parent.parent}: {error}") from error
    return WalletInfo(
        directory=file.parent.parent,
        name=name,
        hotkey_name=hotkey,
        hotkey=Hotkey(wallet.hotkey.ss58_address),
        coldkey=Coldkey(coldkey),
        coldkey_created=not has_coldkey,
    )


def load_signer(path: Path, name: str, hotkey: str) -> HotkeySigner:
    """The signer of a wallet's hotkey. Raises `ConfigError` that names the file and what to do."""
    file = hotkey_file(path, name, hotkey)
    import bittensor_core

    data = _read(file)
    if bittensor_core.keyfile_data_is_encrypted(data):
        raise ConfigError(f"{file} is encrypted, a validator's hotkey is not; {_NEW_WALLET}")
    try:
        keypair = bittensor_core.deserialize_keypair_from_keyfile_data(data)
        keypair.sign(b"")
    except (bittensor_core.KeyfileError, ValueError) as error:
        raise ConfigError(f"{file} holds no usable private hotkey ({error}); {_NEW_WALLET}") from error
    if keypair.crypto_type != _SR25519:
        raise ConfigError(f"{file} holds no sr25519 key, which Bittensor hotkeys are; {_NEW_WALLET}")
    return HotkeySigner(keypair.ss58_address, keypair)


def hotkey_of(path: Path, name: str, hotkey: str) -> Hotkey | None:
    """The public address of a wallet's hotkey, None where it cannot be read; the key itself is not used."""
    try:
        data = json.loads(_read(hotkey_file(path, name, hotkey)))
        return parse_hotkey(data["ss58Address"])
    except (ConfigError, CryptoError, ValueError, LookupError, TypeError):
        return None


def coldkey_of(path: Path, name: str) -> Coldkey | None:
    """The address in a wallet's `coldkeypub.txt`, None where it cannot be read."""
    try:
        data = json.loads((path.expanduser() / name / "coldkeypub.txt").read_bytes())
        return Coldkey(parse_hotkey(data["ss58Address"]))
    except (OSError, CryptoError, ValueError, LookupError, TypeError):
        return None


def _instead(path: Path) -> str:
    """What to do without a hotkey: those that there are come first, as a name may be misspelt."""
    there = sorted(each for each in path.glob("*/hotkeys/*") if not each.name.endswith("pub.txt"))
    if not there:
        return _NEW_WALLET
    names = ", ".join(f"{each.parts[-3]}/{each.name}" for each in there[:MOST_NAMED])
    more = f" and {len(there) - MOST_NAMED} more" if there[MOST_NAMED:] else ""
    return f"there are {names}{more}: set WALLET_NAME/HOTKEY_NAME to one of them, or run `loosh wallet new`"


def _read(file: Path) -> bytes:
    try:
        return file.read_bytes()
    except FileNotFoundError as error:
        raise ConfigError(f"there is no hotkey file {file}; {_instead(file.parents[2])}") from error
    except OSError as error:
        todo = when_denied(file) if isinstance(error, PermissionError) else _NEW_WALLET
        raise ConfigError(f"the hotkey file {file} cannot be read: {error.strerror}; {todo}") from error
