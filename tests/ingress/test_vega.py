"""The script that draws charts: made once, beside the ingress, and kept."""

from __future__ import annotations

import gzip
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from ingress import vega
from ingress.pages.static import static_path
from ingress.vega import Vega, VegaError
from loosh_pipeline.settings import Settings
from tests.ingress.conftest import AWAY, Serve

PACKED = gzip.compress(b"window.vegaEmbed = 1;", mtime=0)


def maker(monkeypatch: pytest.MonkeyPatch, log: Path, code: str = "") -> None:
    said = f"open({str(log)!r}, 'a').write('made '); import sys, time; time.sleep(0.3); {code or 'pass'}; "
    command = (sys.executable, "-c", f"{said}sys.stdout.buffer.write({PACKED!r})")
    monkeypatch.setattr(vega, "COMMAND", command)


def test_many_who_ask_at_once_wait_for_one_and_no_later_start_makes_it_again(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    maker(monkeypatch, log := tmp_path / "log")
    found = Vega(tmp_path / "pages")
    with ThreadPoolExecutor(6) as pool:
        assert {each.result() for each in [pool.submit(found.packed) for _ in range(6)]} == {PACKED}
    assert Vega(tmp_path / "pages").packed() == PACKED
    assert log.read_text() == "made "
    assert [each.name for each in (tmp_path / "pages").iterdir()] == [f"vega-{vega.vega_mark()}.js.gz"]


def test_where_it_cannot_be_kept_it_is_served_all_the_same(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    maker(monkeypatch, tmp_path / "log")
    (tmp_path / "pages").write_text("no folder")
    assert Vega(tmp_path / "pages").packed() == PACKED


def test_what_cannot_be_made_is_said_without_a_path(
    serve: Serve, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, settings: Settings
) -> None:
    maker(monkeypatch, tmp_path / "log", "sys.exit('no room in /home/operator')")
    with pytest.raises(VegaError, match="no room"):
        Vega(tmp_path / "pages").packed()
    answer = serve(AWAY).get(f"/{static_path('vega.js')}")
    assert (answer.status_code, "operator" in answer.text) == (500, False)


def test_only_under_its_own_mark_a_file_is_kept_for_good(
    serve: Serve, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    maker(monkeypatch, tmp_path / "log")
    client = serve(AWAY)
    for name in ("vega.js", "pages.css"):
        ours, other = client.get(f"/{static_path(name)}"), client.get(f"/static/of-another-release/{name}")
        assert ours.content == other.content
        assert "immutable" in ours.headers["cache-control"]
        assert other.headers["cache-control"] == "no-store"
    plain = client.get(f"/{static_path('vega.js')}", headers={"accept-encoding": "identity"})
    assert plain.text == "window.vegaEmbed = 1;"
    assert client.get("/static/x/none.js").status_code == 404


@pytest.mark.slow
def test_it_is_the_script_that_pages_call(tmp_path: Path) -> None:
    assert b"window.vegaEmbed=" in gzip.decompress(Vega(tmp_path).packed())
