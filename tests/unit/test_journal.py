"""What is written is read back, in the smallest form, and what a killed writer had written is there."""

from __future__ import annotations

import os
import random
import resource
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bench.journal import ALL, ANY_LANE, CORRUPT, RECORD, REDELIVERED, SIZE, EvidenceMissing, Form, Kind, Writer, read

ROOT = Path(__file__).parents[2]
ROWS = st.lists(
    st.tuples(
        st.integers(0, 2), st.integers(0, 1), st.integers(0, 3), st.integers(0, 1), st.sampled_from((0, 0, 0, REDELIVERED)),
        st.one_of(st.integers(0, 40), st.integers(0, 40), st.integers(0, 2**40)),
    ),
    min_size=1, max_size=60,
)  # fmt: skip
TYPE = [("producer", "<u2"), ("epoch", "<u2"), ("lane", "<u4"), ("attempt", "<u2"), ("flags", "<u2"), ("sequence", "<u8")]


def unrolled(records):
    """All messages of a journal: kind, group, trial, times, and the six columns; a lane of ANY_LANE as it stands."""
    for i, row in enumerate(records.rows):
        lanes = records.lanes(i)
        common = tuple(int(row[name]) for name in ("kind", "group", "trial", "t_first", "t_last"))
        for j, sequence in enumerate(records.sequences(i).tolist()):
            lane = lanes if isinstance(lanes, int) else int(lanes[j])
            who = (int(row["producer"]), int(row["epoch"]), lane, int(row["attempt"]), int(row["flags"]), sequence)
            yield common, who


def of_lane(rows, lane_of):
    """Messages in order, for each (producer, epoch, lane)."""
    lanes = {}
    for producer, epoch, lane, attempt, flags, sequence in rows:
        known = lane_of(producer, sequence) if lane == ANY_LANE else lane
        lanes.setdefault((producer, epoch, known), []).append((attempt, flags, sequence))
    return lanes


@settings(deadline=None)
@given(st.lists(st.tuples(ROWS, st.integers(0, 2), st.integers(-(2**60), 2**60)), max_size=8), st.booleans())
def test_what_is_written_is_read_in_its_order_within_each_lane(calls, free_lanes):
    def lane_of(producer, sequence):
        return (producer + sequence // 3) % 3

    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        writer = Writer(folder, "a", 256)
        written = []
        for rows, way, t in calls:
            given_lane = [row if free_lanes and way == 2 else (*row[:2], lane_of(row[0], row[5]), *row[3:]) for row in rows]
            written += given_lane
            before = writer.position
            if way == 2:
                writer.few(Kind.PROCESSED, given_lane, trial=3, group=1, t=t)
            else:
                columns = np.array(given_lane, dtype=TYPE)
                either = {key: columns[key] for key, _ in TYPE} if way else columns
                writer.batch(Kind.PROCESSED, either, trial=3, group=1, t_first=t, t_last=t)
            assert before < writer.position <= before + len(rows)
        live = list(unrolled(read(folder, "a", 0, writer.position)))  # not closed: as the runner reads it between trials
        whole = writer.position
        writer.close()
        closed = list(unrolled(read(folder, "a")))
        part = read(folder, "a", whole // 2, whole)
        assert part.start == whole // 2
        assert len(part.rows) == whole - whole // 2
        assert (part.rows == read(folder, "a").rows[whole // 2 :]).all()
    assert live == closed
    assert of_lane([who for _, who in closed], lane_of) == of_lane(written, lane_of)
    assert {common[0] for common, _ in closed} <= {Kind.PROCESSED}


def forms(tmp_path, columns, **more):
    with Writer(tmp_path, "a") as writer:
        writer.batch(Kind.PROCESSED, columns, trial=1, group=0, t_first=5, t_last=9, **more)
    records = read(tmp_path, "a")
    blob = tmp_path / "a.blob.0000"
    return [Form(row["form"]).name for row in records.rows], blob.stat().st_size if blob.exists() else 0, records


S = np.arange(1000)
MIXED = np.random.default_rng(1).permutation(1000)


@pytest.mark.parametrize(
    ("lane", "sequence", "form", "blob_b"),
    [
        (0, S, ["RANGE"], 0),
        (S * 7 % 12, S, ["RANGE"], 0),
        (np.sort(S % 4), S[np.argsort(S % 4, kind="stable")], ["RANGE"], 0),  # lane after lane: put together
        (0, S * 3 + 1, ["RANGE"], 0),  # a member that sees every third
        (0, np.delete(S, 500), ["RANGE", "RANGE"], 0),
        (0, np.flatnonzero(np.random.default_rng(2).random(2000) < 0.5), ["BITMAP"], 250),
        (0, np.sort(np.random.default_rng(3).integers(0, 1 << 30, 50)), ["LIST"], 200),
        (0, MIXED, ["LIST"], 2000),
        (S % 3, MIXED, ["COLUMNS"], 3000),
    ],
    ids=["dense", "dense over lanes", "lane after lane", "stride", "a gap", "holes", "sparse", "disorder", "disorder over lanes"],
)
def test_the_smallest_form_is_taken(tmp_path, lane, sequence, form, blob_b):
    names, size, records = forms(tmp_path, {"producer": 2, "lane": lane, "sequence": sequence})
    assert (names, size) == (form, blob_b)
    assert sorted(np.concatenate([records.sequences(i) for i in range(len(names))]).tolist()) == sorted(np.asarray(sequence).tolist())
    row = records.rows[0]
    assert (row["producer"], row["group"], row["trial"], row["t_first"], row["t_last"]) == (2, 0, 1, 5, 9)


def test_flags_of_a_batch_are_added_to_its_messages(tmp_path):
    _, _, records = forms(tmp_path, {"sequence": S, "flags": (S >= 990).astype(np.uint16)}, flags=REDELIVERED)
    assert records.rows["flags"].tolist() == [REDELIVERED, REDELIVERED | 1]


def test_an_empty_batch_is_no_record(tmp_path):
    assert forms(tmp_path, {"sequence": S[:0]})[0] == []


def test_a_sequence_in_two_lanes_is_kept_as_it_came(tmp_path):
    names, _, records = forms(tmp_path, {"lane": np.array([2, 1, 1]), "sequence": np.array([6, 5, 6])})
    assert names == ["COLUMNS"]
    assert (records.lanes(0).tolist(), records.sequences(0).tolist()) == ([2, 1, 1], [6, 5, 6])


def test_spans_marks_and_damaged_messages(tmp_path):
    with Writer(tmp_path, "a", 128) as writer:
        writer.span(Kind.ATTEMPT, trial=9, producer=3, first=1 << 63, count=4, stride=2, epoch=1, lane=7, attempt=2, t_first=-1, aux=11)
        writer.mark(9, 17, "broker gone: ünreachable")
        writer.corrupt(trial=9, group=1, t=18, count=3)
        assert writer.position == 3
    records = read(tmp_path, "a")
    assert records.sequences(0).tolist() == [(1 << 63) + i for i in (0, 2, 4, 6)]
    assert [int(records.rows[0][n]) for n in ("lane", "attempt", "epoch", "group", "aux", "t_first")] == [7, 2, 1, ALL, 11, -1]
    assert records.text(1) == "broker gone: ünreachable"
    assert [int(records.rows[2][n]) for n in ("kind", "flags", "count")] == [Kind.RECEIVED, CORRUPT, 3]


def test_neighbours_of_one_lane_become_one_record(tmp_path):
    with Writer(tmp_path, "a") as writer:
        writer.few(Kind.PROCESSED, [(0, 0, 1, 0, 0, s) for s in (4, 5, 6, 9, 8)], trial=1, group=0, t=3)
    assert [(int(row["first"]), int(row["count"])) for row in read(tmp_path, "a").rows] == [(4, 3), (9, 1), (8, 1)]


def test_files_are_cut_to_what_was_used_and_closing_twice_is_fine(tmp_path):
    writer = Writer(tmp_path, "a")
    writer.span(Kind.OK, trial=1, producer=0, first=0, count=1)
    assert (tmp_path / "a.rec.0000").stat().st_size == 64 << 20
    writer.close()
    writer.close()
    assert [(path.name, path.stat().st_size) for path in tmp_path.iterdir()] == [("a.rec.0000", SIZE)]
    for write in (lambda: writer.span(Kind.OK, trial=1, producer=0, first=0, count=1), lambda: writer.mark(1, 0, "too late")):
        with pytest.raises(ValueError, match="journal a is closed"):
            write()
    assert len(list(tmp_path.iterdir())) == 1


def test_evidence_is_never_overwritten(tmp_path):
    Writer(tmp_path, "a").close()
    with pytest.raises(FileExistsError, match=r"a\.rec\.0000 is there already"):
        Writer(tmp_path, "a")


@pytest.mark.parametrize("size", [0, 63, 100, 1 << 33])
def test_a_segment_is_a_whole_number_of_records(tmp_path, size):
    with pytest.raises(ValueError, match="multiple of 64"):
        Writer(tmp_path, "a", size)


@pytest.mark.parametrize("field", RECORD.names)
def test_a_record_of_which_one_field_is_torn_ends_the_journal(tmp_path, field):
    with Writer(tmp_path, "a", 4 * SIZE) as writer:
        for i in range(10):
            writer.span(Kind.ATTEMPT, trial=1, producer=0, first=i, count=1)
    path = tmp_path / "a.rec.0001"
    data = np.fromfile(path, RECORD)
    data[field][2] ^= 1
    data.tofile(path)
    assert read(tmp_path, "a").rows["first"].tolist() == list(range(6))
    assert read(tmp_path, "a", 2, 6).rows["first"].tolist() == list(range(2, 6))
    with pytest.raises(EvidenceMissing, match="8 records were reported, 6 are there and sound"):
        read(tmp_path, "a", 2, 8)


def test_a_cut_or_missing_blob_is_named(tmp_path):
    with Writer(tmp_path, "a") as writer:
        writer.batch(Kind.PROCESSED, {"sequence": MIXED}, trial=1)
    blob = tmp_path / "a.blob.0000"
    os.truncate(blob, 100)
    with pytest.raises(EvidenceMissing, match=r"a\.blob\.0000 is cut off at 100 bytes"):
        read(tmp_path, "a").sequences(0)
    blob.unlink()
    with pytest.raises(EvidenceMissing, match=r"a\.blob\.0000 is missing"):
        read(tmp_path, "a").sequences(0)


@pytest.mark.parametrize("suffix", ["rec", "blob"])
def test_a_full_disk_is_an_error_that_names_the_file(tmp_path, suffix):
    """A child that may not write past 1 MiB in a file: the allocation fails, nothing is left half made."""
    code = f"""
import sys, numpy as np
from pathlib import Path
from bench.journal import Kind, Writer
folder = Path({str(tmp_path)!r})
try:
    if {suffix!r} == "rec":
        Writer(folder, "a", 2 << 20)
    else:
        with Writer(folder, "a", 1 << 20) as writer:
            writer.batch(Kind.PROCESSED, {{"sequence": np.random.default_rng(1).permutation(1 << 19)}}, trial=1)
except OSError as error:
    print(error.filename, error)
"""
    limit = 1 << 20
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True, timeout=60,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit)),
    )  # fmt: skip
    assert done.stdout.startswith(f"{tmp_path}/a.{suffix}.0000"), done.stdout
    assert "journal: cannot have 2 MiB" in done.stdout
    assert not (tmp_path / f"a.{suffix}.0000").exists()


CHILD = """
import os, sys
import numpy as np
from pathlib import Path
from bench.journal import Kind, Writer
writer = Writer(Path(sys.argv[1]), "a", 1 << 16)
disorder = np.array([3, 1, 2, 0] * 8) + np.repeat(np.arange(8) * 4, 4)
i = 0
while True:
    for i in range(i, i + 50):
        if i % 5:
            writer.span(Kind.ATTEMPT, trial=i, producer=i & 7, first=i * 3, count=i + 1, t_first=i, t_last=~i, aux=i * i)
        else:
            writer.batch(Kind.PROCESSED, {"sequence": disorder + i}, trial=i)
    i += 1
    os.write(1, writer.position.to_bytes(8, "little"))
"""


@pytest.mark.slow
def test_what_a_killed_writer_had_written_is_there_and_nothing_torn_is_read(tmp_path):
    rng = random.Random(1)
    total = 0
    for kill in range(20):
        folder = tmp_path / str(kill)
        folder.mkdir()
        child = subprocess.Popen([sys.executable, "-c", CHILD, str(folder)], cwd=ROOT, stdout=subprocess.PIPE)
        with child:
            assert child.stdout is not None
            reported = child.stdout.read(20 * 8)  # after each 50 records
            time.sleep(rng.random() * 0.03)
            child.send_signal(signal.SIGKILL)
            reported += child.stdout.read()
        count = int.from_bytes(reported[len(reported) // 8 * 8 - 8 :][:8], "little")
        records = read(folder, "a")
        assert len(records.rows) >= count > 0
        for i, row in enumerate(records.rows.tolist()):
            kind, trial = row[1], row[4]
            assert trial == i
            if kind == Kind.ATTEMPT:
                assert row[5:] == (i & 7, 0, ANY_LANE, i + 1, 1, 0, 0, i * 3, i, ~i, i * i)
            else:
                assert records.sequences(i).tolist() == [4 * k + s + i for k in range(8) for s in (3, 1, 2, 0)]
        total += len(records.rows)
    assert total >= 20 * 20 * 50
