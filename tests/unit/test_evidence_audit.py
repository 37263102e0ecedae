"""The evidence of the accountant: what differs is kept and named, what was done is not done again."""

from __future__ import annotations

import json

import audit_examples
import pytest

from benchmarks import scale_audit
from benchmarks.evidence import audit, common


def test_what_agrees_is_counted_and_what_differs_is_kept(monkeypatch):
    counts, failed = audit.examples(range(4))
    assert (counts["planted"], counts["chaos"], failed) == (2, 2, [])
    assert counts["sent"] >= counts["acknowledged"] > 0
    monkeypatch.setattr(audit_examples, "differences", lambda _: ["group 0, lost: truth 1, reported 0"])
    _, failed = audit.examples(range(14))
    assert [one["seed"] for one in failed] == list(range(10)), "no more than ten are kept"
    assert failed[1]["kind"] == "chaos"
    assert failed[0]["differences"] == ["group 0, lost: truth 1, reported 0"]


def test_an_accountant_that_raises_is_a_failure(monkeypatch):
    def raises(*_, **__):
        raise ValueError("no such lane")

    monkeypatch.setattr(audit_examples, "audit", raises)
    counts, failed = audit.examples(range(2))
    assert counts["raised"] == 2
    assert failed[1] == {"seed": 1, "differences": ["ValueError: no such lane"]}


def test_runs_are_kept_summed_and_computed_again(tmp_path, capsys):
    folder, out = tmp_path / "work", tmp_path / "out"
    assert audit.run(folder, out, 1, 4) == 0
    text = capsys.readouterr().out
    assert "4 schedules: 2 with planted, counted anomalies, 2 at random." in text
    assert "All accounts agree in every count." in text
    kept = (folder / "001.json").read_bytes()
    assert audit.run(folder, out, 1, 4) == 0
    assert (folder / "001.json").read_bytes() == kept, "a run that was done is not done again"
    assert audit.main(["--recompute", str(out / "audit.json")]) == 0
    record = common.read(folder / "001.json")
    common.write(folder / "001.json", json.dumps(record | {"failed": [{"seed": 3, "kind": "chaos", "differences": ["group 0, lost"]}]}))
    assert audit.run(folder, out, 1, 4) == 1
    assert "- seed 3 (chaos): group 0, lost" in capsys.readouterr().out


def test_one_example_can_be_looked_at(capsys):
    assert audit.main(["--seed", "3"]) == 0
    assert "all accounts agree" in capsys.readouterr().out


@pytest.mark.parametrize("words", [["--examples", "100"], ["--examples", "x"], ["--nosuch"]])
def test_a_wrong_command_line_is_refused(words):
    with pytest.raises(SystemExit) as ended:
        audit.main(words)
    assert ended.value.code == 2


def test_the_accountant_at_scale_is_held_to_what_was_made(tmp_path):
    scale_audit.make(tmp_path, 200_000, 200, 300, 2)
    found = scale_audit.account(tmp_path, 200_000, 2)
    assert found["right"]
    assert found["lost"] in range(190, 201)
    truth = json.loads((tmp_path / "truth.json").read_text())
    (tmp_path / "truth.json").write_text(json.dumps(truth | {"lost": truth["lost"] + 1}))
    assert not scale_audit.account(tmp_path, 200_000, 2)["right"]
