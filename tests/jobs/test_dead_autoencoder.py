"""An autoencoder without a live latent is a finding, not a crash: the paper's own come down to one a block."""

from __future__ import annotations

import pytest

from tdlens.errors import UserError
from tdlens.record import Record
from tests.jobs.small_study import QUICK, SIGNALS, run, study

LESION = {"name": "td", "sae": "paper"}
DEAD = [{"name": "paper", "options": {"l1": 1e9}, "epochs": 8, "lr": 0.5, "batch_size": 32}]


def test_the_record_says_that_nothing_lives(record: Record, tmp_path_factory: pytest.TempPathFactory) -> None:
    run(study(tmp_path_factory.getbasetemp(), QUICK, sae=DEAD, capture={"blocks": [1, 2]}), record)
    saes = record.query("SELECT non_constant FROM v_sae")
    assert len(saes) == 2 and (saes["non_constant"] == 0).all()
    coverage = record.query("SELECT block, signal, n_live, n_kept, n, n_rollouts FROM v_coverage WHERE source = 'sae'")
    assert len(coverage) == 2 * len(SIGNALS)
    assert (coverage[["n_live", "n_kept"]] == 0).all(axis=None) and (coverage["n_rollouts"] > 0).all()
    assert record.query("SELECT * FROM v_latent_correlation").empty
    assert record.query("SELECT * FROM v_latent_activation").empty


def test_an_intervention_on_it_is_refused(record: Record, tmp_path_factory: pytest.TempPathFactory) -> None:
    wanted = study(tmp_path_factory.getbasetemp(), QUICK, sae=DEAD, intervention=[LESION], capture={"blocks": [1, 2]})
    with pytest.raises(UserError, match="no live latent"):
        run(wanted, record)
    failed = record.query("SELECT state, error FROM v_job WHERE stage = 'intervene'")
    assert list(failed["state"]) == ["failed"] and "no live latent" in failed["error"][0]
