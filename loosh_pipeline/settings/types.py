"""What a text in the environment must look like to be a port, an address, a hotkey or a version.

Each type names the variable and says what to do where its text is wrong; what must hold between settings is theirs.
"""

from __future__ import annotations

import ipaddress
import json
import re
from typing import Annotated, TypeVar

from pydantic import AfterValidator, AnyUrl, BeforeValidator, Field, HttpUrl, TypeAdapter, UrlConstraints
from pydantic_settings import NoDecode

from loosh_pipeline.chain.endpoints import shown
from loosh_pipeline.embedding.address import socket_path
from loosh_pipeline.errors import CryptoError

OLDEST_VERSION = (1, 2, 8)
"""The network sends no challenges to a validator that reports an older one."""
VERSION = re.compile(r"(\d{1,6})\.(\d{1,6})\.(\d{1,6})(?:[-+.][0-9A-Za-z.+-]{1,32})?")
SERVICES = ("ingress", "code-server", "embedder", "worker", "upkeep", "dagster-webserver", "dagster-daemon", "alerts")
"""The processes of a validator, by the names that its log and `loosh status` have for them."""
LOG_LEVELS = ("DEBUG", "INFO", "WARNING", "ERROR")


Url = TypeVar("Url", HttpUrl, AnyUrl)


def _listed(names: object) -> object:
    if not isinstance(names, str):
        return names
    return tuple(dict.fromkeys(name.strip() for name in names.split(",") if name.strip()))


def _websocket(address: str) -> str:
    if not address.startswith(("ws://", "wss://")) or len(address.split()) > 1:
        raise ValueError(
            f"{shown(address)!r}: a chain endpoint starts with ws:// or wss://, such as ws://127.0.0.1:9945"
        )
    return address


def _websockets(addresses: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(_websocket(address) for address in addresses)


def _hotkeys_that_push(hotkeys: tuple[str, ...]) -> tuple[str, ...]:
    from loosh_pipeline.wire.crypto import parse_hotkey

    try:
        return tuple(parse_hotkey(hotkey) for hotkey in hotkeys)
    except CryptoError as error:
        raise ValueError(f"INTAKE_HOTKEYS: {error}; separate SS58 addresses by commas") from error


def _hotkey_that_burns(hotkey: str) -> str:
    from loosh_pipeline.wire.crypto import parse_hotkey

    try:
        return parse_hotkey(hotkey)
    except CryptoError as error:
        raise ValueError(f"WEIGHTS_BURN_HOTKEY: {error}") from error


def _new_enough(told: str) -> str:
    found = VERSION.fullmatch(told)
    if found is None or tuple(int(part) for part in found.groups()) < OLDEST_VERSION:
        oldest = ".".join(map(str, OLDEST_VERSION))
        raise ValueError(f"the network wants {oldest} or newer, written like it")
    return told


def _model_or_server(model: str) -> str:
    if "://" not in model:
        return model
    url = TypeAdapter(HttpUrl).validate_python(model)
    if url.username or url.password:
        raise ValueError("the URL of an embedding server holds no user and password; use EMBEDDING_API_KEY")
    return model.rstrip("/")


def _host_or_socket(url: AnyUrl) -> AnyUrl:
    socket_path(str(url))
    return url


def _without_user(url: Url) -> Url:
    if url.username or url.password:
        raise ValueError("an address here holds no user and password: it is shown to people")
    return url


def _with_scheme(address: object) -> object:
    if isinstance(address, str) and "://" not in address:
        raise ValueError("an address begins with https:// or http://")
    return address


def _no_service_link(port: object) -> object:
    if isinstance(port, str) and port.startswith(("tcp://", "udp://")):
        raise ValueError(
            "this is what Docker or Kubernetes tell of a neighbour of that name, not a port; set the port, or rename "
            "the neighbour (Kubernetes: enableServiceLinks: false)"
        )
    return port


def _networks(names: tuple[str, ...]) -> tuple[str, ...]:
    try:
        return tuple(str(ipaddress.ip_network(name)) for name in names)
    except ValueError as error:
        raise ValueError(
            f"TRUSTED_PROXIES: {error}; name addresses or networks, such as 10.0.0.9 or 10.0.0.0/24"
        ) from error


def _known_services(names: tuple[str, ...]) -> tuple[str, ...]:
    if unknown := [name for name in names if name not in SERVICES]:
        raise ValueError(f"LOOSH_SERVICES: there is no {unknown[0]!r}; name some of {', '.join(SERVICES)}")
    return names


def _known_level(level: str) -> str:
    if level.upper() not in LOG_LEVELS:
        raise ValueError(f"use one of {', '.join(LOG_LEVELS)}")
    return level.upper()


def _json_object(text: str) -> str:
    try:
        found = json.loads(text)
    except ValueError as error:
        raise ValueError(f'is no JSON object ({error}); write one, such as {{"top_p": 0.9}}') from error
    if not isinstance(found, dict):
        raise ValueError('is no JSON object; write one, such as {"top_p": 0.9}')
    return text


Port = Annotated[int, Field(ge=1, le=65535), BeforeValidator(_no_service_link)]
HttpAddress = Annotated[HttpUrl, BeforeValidator(_with_scheme), AfterValidator(_without_user)]
Names = Annotated[tuple[str, ...], NoDecode, BeforeValidator(_listed)]
"""Separated by commas, each once."""
ChainEndpoint = Annotated[str, AfterValidator(_websocket)]
ChainEndpoints = Annotated[Names, AfterValidator(_websockets)]
IntakeHotkeys = Annotated[Names, AfterValidator(_hotkeys_that_push)]
Networks = Annotated[Names, AfterValidator(_networks)]
Services = Annotated[Names, AfterValidator(_known_services)]
BurnHotkey = Annotated[str, AfterValidator(_hotkey_that_burns)]
ReportedVersion = Annotated[str, AfterValidator(_new_enough)]
EmbeddingModel = Annotated[str, AfterValidator(_model_or_server)]
EmbedderUrl = Annotated[
    AnyUrl,
    UrlConstraints(allowed_schemes=["http", "https", "unix"]),
    AfterValidator(_host_or_socket),
    AfterValidator(_without_user),
]
LogLevel = Annotated[str, AfterValidator(_known_level)]
JsonObject = Annotated[str, AfterValidator(_json_object)]
"""Kept as it was written."""
