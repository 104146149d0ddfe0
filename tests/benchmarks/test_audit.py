"""The benchmark of asking why, with few rounds: that it measures what it says, not how fast it is."""

from __future__ import annotations

import sys

import pytest

import benchmarks.audit as module
from benchmarks.audit import COMMANDS, home, medians, ran
from benchmarks.figures import Load
from loosh_pipeline.audit.recorded import differences, given_of, recorded_epoch
from loosh_pipeline.audit.weighing_again import weighed
from loosh_pipeline.devnet.stored_rounds import samples
from loosh_pipeline.embedding.fake import HashingEmbedder
from loosh_pipeline.store.inbox import Inbox
from loosh_pipeline.store.tables import Tables

ROUNDS = 40


@pytest.mark.slow
def test_a_day_is_made_and_every_command_asks_of_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "REPEAT", 1)
    with home(ROUNDS, samples(HashingEmbedder(), 3)) as (settings, environment):
        tables, inbox = Tables(settings.tables_root), Inbox.open(settings.inbox_url)
        epoch = recorded_epoch(inbox.engine, tables, "latest")
        assert (epoch.terms.rounds, epoch.terms.profile) == (ROUNDS, "robust")
        assert differences(epoch, weighed(given_of(tables, epoch))) == []
        inbox.engine.dispose()
        # Of 40 rounds all are in the sample: then it is no sample.
        few = {**COMMANDS, "whatif_sample_s": (*COMMANDS["whatif_sample_s"], "--sample", "10")}
        monkeypatch.setattr(module, "COMMANDS", few)
        figures = medians(environment, Load())
    assert figures.keys() == COMMANDS.keys()
    assert min(figures.values()) > 0


def test_a_command_that_fails_ends_the_benchmark_with_what_it_said() -> None:
    with pytest.raises(SystemExit, match="ended with 3: no such thing"):
        ran([sys.executable, "-c", "import sys; print('no such thing', file=sys.stderr); sys.exit(3)"], {})
    found = ran([sys.executable, "-c", "print('x' * 3)"], {})
    assert (found.said, found.rss_mb > 1, found.seconds > 0) == ("xxx\n", True, True)
