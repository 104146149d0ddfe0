"""`min_compute.yml` is whole, says what the documents say, and reaches whoever installs the package."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from loosh_pipeline.compute import FILE, PROFILES, min_compute, read
from loosh_pipeline.errors import ConfigError

ROOT = Path(__file__).parents[1]


def found_in_performance(figure: str) -> tuple[float, ...]:
    """The two figures found, of 10 and of 50 miners, of a row in docs/performance.md; the last of several in a cell."""
    line = next(line for line in (ROOT / "docs/performance.md").read_text().splitlines() if figure in line)
    _, _, _, ten, _, fifty, _ = line.split("|")
    return tuple(float(re.findall(r"\d[\d,]*", cell)[-1].replace(",", "")) for cell in (ten, fifty))


def test_what_was_measured_is_what_the_documents_say() -> None:
    compute = min_compute()
    measured = [e for p in compute.validator_profiles.values() for e in p.performance if e.source == "measured"]
    assert [each.miners_per_challenge for each in measured] == [10, 50]
    assert tuple(each.challenges_per_hour for each in measured) == found_in_performance("`challenges_per_hour`")
    assert tuple(each.memory_peak_mb for each in measured) == found_in_performance("`peak_rss_mb`, `peak_pss_mb`")
    assert (
        f"about {compute.validator_storage.mb_per_challenge} MB a" in (ROOT / "docs/operating/retention.md").read_text()
    )


def test_no_figure_of_a_model_server_or_a_gpu_passes_for_measured() -> None:
    compute = min_compute()
    for server in (compute.local_inference.recommended, compute.local_inference.minimum):
        assert server.performance.source == "estimated"
        assert server.continuous_batching
        assert server.servers == ("vLLM", "TGI")
    for name in PROFILES:
        if (profile := compute.validator_profiles[name]).gpu is not None:
            assert {each.source for each in profile.performance} == {"estimated"}


def test_the_models_are_the_ones_asked_for() -> None:
    servers = min_compute().local_inference
    assert (servers.recommended.model, servers.recommended.gpu.name) == (
        "Qwen/Qwen2.5-14B-Instruct",
        "NVIDIA H100 80GB",
    )
    assert (servers.minimum.model, servers.minimum.gpu.name) == ("Qwen/Qwen2.5-7B-Instruct-AWQ", "NVIDIA A10 24GB")
    for server in (servers.recommended, servers.minimum):
        bound = {"NVIDIA H100 80GB": 3350, "NVIDIA A10 24GB": 600}[server.gpu.name] / server.weights_gb
        assert server.performance.tokens_per_s_single < bound, "faster than its memory can be read"


def test_profiles_agree_with_what_the_role_asks_for() -> None:
    compute = min_compute()
    role, least, better = (
        compute.validator,
        compute.validator_profiles["minimum_without_gpu"],
        compute.validator_profiles["recommended_without_gpu"],
    )
    assert (role.cpu.min_cores, role.memory.min_ram, role.storage.min_space) == (least.cores, least.ram, least.space)
    assert (role.cpu.recommended_cores, role.memory.recommended_ram) == (better.cores, better.ram)
    for name in ("minimum_with_gpu", "recommended_with_gpu"):
        gpu = compute.validator_profiles[name].gpu
        assert gpu is not None
        wanted = role.gpu.min_vram if name.startswith("minimum") else role.gpu.recommended_vram
        assert gpu.vram == wanted


def changed(path: Path, **changes: Any) -> Path:
    content = yaml.safe_load((ROOT / FILE).read_text())
    for dotted, value in changes.items():
        at = content
        *parts, last = dotted.split("__")
        for part in parts:
            at = at[part]
        at[last] = value
    file = path / FILE
    file.write_text(yaml.safe_dump(content))
    return file


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"surprise": 1}, "surprise"),
        ({"compute_spec__validator__cpu__min_cores": 0}, "min_cores"),
        ({"validator_profiles__minimum_with_gpu": None}, "minimum_with_gpu"),
        ({"local_inference__minimum__gpu__vram": 8}, "more than nine tenths"),
    ],
)
def test_what_is_wrong_in_the_file_is_named(tmp_path: Path, changes: dict[str, Any], named: str) -> None:
    with pytest.raises(ConfigError, match=named):
        read(changed(tmp_path, **changes))


def test_the_wheel_carries_the_file() -> None:
    assert f'"{FILE}" = "loosh_pipeline/{FILE}"' in (ROOT / "pyproject.toml").read_text()
