"""What a run that goes on takes over from the one before."""

from __future__ import annotations

from bench.stage import last_session


def test_a_session_that_was_cut_off_has_journals_and_no_trial(tmp_path):
    (tmp_path / "trials").mkdir()
    evidence = tmp_path / "evidence"
    evidence.mkdir()
    assert last_session(tmp_path) == 0
    (tmp_path / "trials" / "0001").mkdir()
    assert last_session(tmp_path) == 1, "its journals may have been removed"
    (evidence / "003-kafka-producer-0.rec.0000").touch()
    (evidence / "server.log").touch()
    assert last_session(tmp_path) == 3
