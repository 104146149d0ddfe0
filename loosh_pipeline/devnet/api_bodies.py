"""The bodies that the Challenge API takes, checked as strictly as a stranger's server might."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any

from loosh_pipeline.errors import WireError
from loosh_pipeline.wire.codec import Fields, decode_object

MAX_UID = 65_535
MAX_TEXT = 8 * 1024 * 1024

Check = Callable[[Mapping[str, Any], str], None]
"""Raises WireError for a body that says something wrong, or for another hotkey than the caller's."""


def parsed(body: bytes, what: str, check: Check, hotkey: str) -> dict[str, Any]:
    """A body of the caller `hotkey`. Raises WireError."""
    payload = decode_object(body, what)
    check(payload, hotkey)
    return payload


def check_batch(payload: Mapping[str, Any], hotkey: str) -> None:
    _only(payload, "response batch", "challenge_id", "responses", "evaluation", "validator_hotkey", "original_request")
    fields = Fields(payload, "response batch")
    evaluation = fields.optional_object("evaluation")
    if fields.optional_objects("responses") is None or evaluation is None:
        raise WireError("response batch: responses and evaluation must not be null")
    fields.text("challenge_id", 128)
    _of_caller(fields, "validator_hotkey", hotkey)
    for response in fields.optional_objects("responses") or ():
        _check_response(response)
    verdict = Fields(evaluation, "evaluation")
    verdict.number("consensus_score")
    verdict.optional_text("best_miner_id", 64)
    for miner in verdict.optional_object("emissions") or {}:
        Fields(evaluation["emissions"], "emissions").number(miner)


def _check_response(response: Mapping[str, Any]) -> None:
    fields = Fields(response, "response")
    fields.text("miner_id", 64)
    fields.text("text", MAX_TEXT)
    fields.text("finish_reason", 256)
    fields.optional_objects("tool_calls")
    for name in ("miner_uid", "response_time_ms"):
        _required(response, "response", name)
    fields.count("miner_uid", MAX_UID)
    fields.count("response_time_ms", 2**31)
    usage = Fields(fields.optional_object("usage") or {}, "usage")
    for name in ("prompt_tokens", "completion_tokens", "total_tokens"):
        usage.number(name)


def check_callback(payload: Mapping[str, Any], hotkey: str) -> None:
    _only(payload, "callback", "id", "text", "original_request")
    fields = Fields(payload, "callback")
    fields.text("id", 128)
    fields.text("text", MAX_TEXT)
    fields.optional_object("original_request")


def check_upload(payload: Mapping[str, Any], hotkey: str) -> None:
    _only(payload, "upload", "challenge_id", "file_type", "filename", "content_type", "data")
    fields = Fields(payload, "upload")
    fields.text("challenge_id", 128)
    fields.text("filename", 256)
    if fields.text("file_type", 32) not in ("heatmap", "quality_plot"):
        raise WireError(f"upload: file_type {payload['file_type']!r} is neither heatmap nor quality_plot")
    if fields.text("content_type", 64) != "image/png":
        raise WireError(f"upload: content_type {payload['content_type']!r} is not image/png")
    try:
        base64.b64decode(fields.text("data", MAX_TEXT), validate=True)
    except (binascii.Error, ValueError) as error:
        raise WireError("upload: data is not base64") from error


def check_sybil_report(payload: Mapping[str, Any], hotkey: str) -> None:
    _only(payload, "sybil report", "records")
    records = Fields(payload, "sybil report").optional_objects("records") or ()
    if not 1 <= len(records) <= 10:
        raise WireError(f"sybil report: {len(records)} records; 1 to 10 are taken")
    for record in records:
        fields = Fields(record, "record")
        _of_caller(fields, "validator_hotkey_ss58", hotkey)
        fields.optional_text("challenge_id", 128)
        fields.text("analysis_report", MAX_TEXT)
        for name in ("suspicious_pairs_count", "suspicious_groups_count"):
            _required(record, "record", name)
            fields.count(name, 2**31)
        for name in ("high_similarity_threshold", "very_high_similarity_threshold"):
            fields.number(name)
        fields.optional_objects("suspicious_pairs")
        fields.optional_objects("suspicious_groups")


def check_network_report(payload: Mapping[str, Any], hotkey: str) -> None:
    _only(payload, "network report", "validator_hotkey", "observations")
    fields = Fields(payload, "network report")
    _of_caller(fields, "validator_hotkey", hotkey)
    for observation in fields.optional_objects("observations") or ():
        seen = Fields(observation, "observation")
        for name in ("miner_hotkey", "ip_address", "coldkey"):
            seen.text(name, 64)
        for name, most in (("miner_uid", MAX_UID), ("port", MAX_UID)):
            _required(observation, "observation", name)
            seen.count(name, most)
        seen.optional_text("asn", 64)
        seen.optional_text("asn_name", 256)


def check_penalty_report(payload: Mapping[str, Any], hotkey: str) -> None:
    _only(payload, "penalty report", "validator_hotkey", "timestamp", "penalties")
    fields = Fields(payload, "penalty report")
    _of_caller(fields, "validator_hotkey", hotkey)
    _check_naive_time(fields.text("timestamp", 64))
    for penalty in fields.optional_objects("penalties") or ():
        each = Fields(penalty, "penalty")
        each.text("miner_hotkey", 64)
        each.count("miner_uid", MAX_UID)
        if each.text("penalty_type", 32) not in ("graduated", "zeroed"):
            raise WireError(f"penalty: penalty_type {penalty['penalty_type']!r} is neither graduated nor zeroed")
        each.number("sybil_score")


def check_hotkeys(payload: Mapping[str, Any], hotkey: str) -> None:
    asked = payload.get("miner_hotkeys")
    if not isinstance(asked, list) or not all(isinstance(each, str) for each in asked):
        raise WireError("sybil scores: miner_hotkeys must be a list of strings")


def check_challenge(payload: Mapping[str, Any], hotkey: str) -> None:
    fields = Fields(payload, "challenge")
    fields.text("id", 128)
    fields.text("prompt", MAX_TEXT)


def _only(payload: Mapping[str, Any], what: str, *names: str) -> None:
    """Exactly these fields, in this order."""
    if tuple(payload) != names:
        raise WireError(f"{what}: its fields must be {', '.join(names)}; they are {', '.join(payload) or 'none'}")


def _required(payload: Mapping[str, Any], what: str, name: str) -> None:
    if payload.get(name) is None:
        raise WireError(f"{what}: {name} is required")


def _of_caller(fields: Fields, name: str, hotkey: str) -> None:
    if fields.text(name, 64) != hotkey:
        raise WireError(f"{fields.what}: {name} is not {hotkey}, who sent it")


def _check_naive_time(text: str) -> None:
    try:
        aware = datetime.fromisoformat(text).tzinfo is not None
    except ValueError as error:
        raise WireError(f"penalty report: timestamp {text!r} is no ISO time") from error
    if aware:
        raise WireError(f"penalty report: timestamp {text!r} has an offset; the network's has none")
