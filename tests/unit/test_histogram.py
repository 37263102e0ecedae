"""Our histogram against the reference package, value by value, and its log in both directions."""

from __future__ import annotations

import io

import numpy as np
import pytest
from hdrh.histogram import HdrHistogram
from hdrh.log import HistogramLogReader, HistogramLogWriter
from hypothesis import given, settings
from hypothesis import strategies as st

from bench.errors import Incompatible
from bench.histogram import (
    HIGHEST_NS,
    LENGTH,
    Histogram,
    add_packed,
    decode,
    encode,
    highest,
    in_use,
    indices,
    lowest,
    pack_counts,
    percentile_text,
    read_lines,
    read_log,
    write_log,
)

QUANTILES = (0.0, 0.001, 0.1, 0.25, 0.5, 0.75, 0.9, 0.95, 0.99, 0.999, 0.9999, 1.0)
# All sizes alike: uniform numbers would nearly all be minutes.
DURATIONS = st.lists(st.integers(0, 41).flatmap(lambda bits: st.integers(0, min(1 << bits, HIGHEST_NS))), max_size=300)


def reference(values):
    histogram = HdrHistogram(1, HIGHEST_NS, 3)
    for value in values:
        assert histogram.record_value(value)
    return histogram


def ours(values):
    histogram = Histogram()
    histogram.add(np.array(values, dtype=np.int64))
    return histogram


@given(st.lists(st.integers(0, HIGHEST_NS // 2), min_size=1))
def test_counters_are_those_of_the_reference(values):
    known = HdrHistogram(1, HIGHEST_NS, 3)
    edges = [*values, *(lowest(known.get_counts_array_index(value)) for value in values), *(1 << value.bit_length() for value in values)]
    edges += [edge - 1 for edge in edges if edge]
    index = indices(np.array(edges, dtype=np.int64)).tolist()
    assert index == [known.get_counts_array_index(edge) for edge in edges]
    assert [lowest(i) for i in index] == [known.get_lowest_equivalent_value(edge) for edge in edges]
    assert [highest(i) for i in index] == [known.get_highest_equivalent_value(edge) for edge in edges]


def test_the_array_is_as_long_as_the_references():
    assert HdrHistogram(1, HIGHEST_NS, 3).counts_len == LENGTH


@settings(deadline=None)
@given(DURATIONS)
def test_quantiles_extremes_and_text_are_those_of_the_reference(values):
    known, found = reference(values), ours(values)
    assert found.counts.tolist() == list(known.counts)
    assert found.n == known.get_total_count()
    assert encode(found).encode() == known.encode()
    if values:
        assert [found.quantile(q) for q in QUANTILES] == [known.get_value_at_percentile(q * 100.0) for q in QUANTILES]
        assert (found.min, found.max) == (known.get_min_value(), known.get_max_value())
        assert found.max >= max(values) >= found.quantile(1.0) * 0.999
    again = decode(encode(found))
    assert (again.counts == found.counts).all()
    assert again.n == found.n


@given(DURATIONS, DURATIONS)
def test_one_by_one_in_parts_and_merged_is_the_same(first, second):
    whole, single, merged = ours(first + second), Histogram(), ours(first)
    for value in first + second:
        single.add_one(value)
    merged.merge(ours(second))
    for other in (single, merged):
        assert (other.counts == whole.counts).all()
        assert other.n == whole.n


@pytest.mark.parametrize("way", ["add", "add_one"])
def test_negative_values_and_those_over_an_hour_are_counted_and_named(way):
    histogram = Histogram()
    values = [-5, 0, 7, HIGHEST_NS, HIGHEST_NS + 1, 1 << 62, -(1 << 62)]
    if way == "add":
        histogram.add(np.array(values, dtype=np.int64))
    else:
        for value in values:
            histogram.add_one(value)
    assert (histogram.n, histogram.negative, histogram.over) == (7, 2, 2)
    assert histogram.counts[0] == 3  # both negatives and the zero: nothing is dropped
    assert histogram.counts[indices(np.array([HIGHEST_NS]))[0]] == 3
    assert histogram.min == 0
    assert histogram.max >= HIGHEST_NS


def test_a_quantile_is_supported_by_ten_samples_beyond_it():
    histogram = ours(range(1, 10_000))
    assert histogram.supported(0.99)
    assert not histogram.supported(0.999)
    histogram.add_one(10_000)
    assert histogram.supported(0.999)
    assert ours(range(100)).supported(0.9)
    assert not ours(range(99)).supported(0.9)
    assert not histogram.supported(1.0)


def test_a_summary_says_null_for_what_is_not_known():
    assert ours(range(1_000_000, 1_001_000)).summary() == {
        "n": 1000, "min_ns": 999_936, "p50_ns": 1_000_959, "p90_ns": 1_000_959, "p99_ns": 1_001_471, "p999_ns": None,
        "max_ns": 1_001_471, "negative": 0,
    }  # fmt: skip
    empty = Histogram().summary()
    assert empty.pop("n") == 0
    assert empty.pop("negative") == 0
    assert set(empty.values()) == {None}


def test_an_empty_histogram_has_no_figures():
    histogram = Histogram()
    for ask in (lambda: histogram.min, lambda: histogram.max, lambda: histogram.quantile(0.5)):
        with pytest.raises(ValueError, match="look at n first"):
            ask()
    with pytest.raises(ValueError, match=r"lies in 0\.\.1, not 99"):
        histogram.quantile(99)
    assert not histogram.supported(0.5)


def test_the_references_reader_reads_our_log(tmp_path):
    path = tmp_path / "latency.hlog"
    histograms = {"e2e": ours([*range(0, 5_000_000, 777), -3]), "e2e-payment": ours([12]), "publish": Histogram()}
    write_log(path, histograms, 1_795_366_922.123, 5.0)
    reader = HistogramLogReader(str(path), HdrHistogram(1, HIGHEST_NS, 3))
    for tag, ours_ in histograms.items():
        theirs = reader.get_next_interval_histogram()
        assert (theirs.get_tag(), list(theirs.counts)) == (tag, ours_.counts.tolist())
        assert theirs.get_start_time_stamp() == pytest.approx(1_795_366_922_123)
        assert theirs.get_end_time_stamp() - theirs.get_start_time_stamp() == pytest.approx(5000)
        if ours_.n:
            assert theirs.get_value_at_percentile(99) == ours_.quantile(0.99)
    assert reader.get_next_interval_histogram() is None


def test_a_log_over_time_is_read_by_the_reference_and_merges_to_the_whole(tmp_path):
    parts = [ours(range(at, at + 400_000, 700)) for at in (0, 10_000_000, 50_000)]
    whole = ours([])
    for part in parts:
        whole.merge(part)
    slices = {"e2e": [(0.0, 1.0, parts[0]), (1.0, 1.0, parts[1]), (3.0, 1.0, parts[2])]}
    path = tmp_path / "latency.hlog"
    write_log(path, {"e2e": whole, "publish": ours([5])}, 1_795_366_922.5, 5.0, slices)
    reader = HistogramLogReader(str(path), HdrHistogram(1, HIGHEST_NS, 3))
    assert reader.get_next_interval_histogram().get_tag() == "publish"
    for (after_s, _, part), theirs in zip(slices["e2e"], iter(reader.get_next_interval_histogram, None), strict=True):
        assert (theirs.get_tag(), list(theirs.counts)) == ("e2e", part.counts.tolist())
        assert theirs.get_start_time_stamp() == pytest.approx((1_795_366_922.5 + after_s) * 1000)
        assert theirs.get_value_at_percentile(99) == part.quantile(0.99)
    assert (read_log(path)["e2e"].counts == whole.counts).all()
    assert read_log(path)["e2e"].n == whole.n
    read_back = list(read_lines(path).intervals())
    parts_back = [one for one in read_back if one[0] == "e2e"]
    for (after_s, length_s, part), (_, read_s, read_length_s, used) in zip(slices["e2e"], parts_back, strict=True):
        assert (read_s, read_length_s) == pytest.approx((after_s, length_s), abs=1e-3)
        read = ours([])
        read.count(used)
        assert (read.counts == part.counts).all()
    assert [one[1:3] for one in read_back if one[0] == "publish"] == [(0.0, 5.0)]


def test_a_log_that_does_not_say_when_it_starts_has_no_slices(tmp_path):
    path = tmp_path / "latency.hlog"
    write_log(path, {"e2e": ours([5])}, 1_795_366_922.5, 5.0)
    path.write_text("".join(line for line in path.read_text().splitlines(keepends=True) if "StartTime:" not in line))
    with pytest.raises(ValueError, match="StartTime"):
        list(read_lines(path).intervals())
    assert read_log(path)["e2e"].n == 1


@given(st.lists(st.integers(0, HIGHEST_NS), max_size=300), st.integers(1, 7))
@settings(deadline=None, max_examples=40)
def test_the_percentile_text_is_the_references(values, ticks):
    """All rows and the mean; the reference in Python writes its last lines a little differently from the one in Java, which tools know."""
    theirs = io.BytesIO()
    reference(values).output_percentile_distribution(theirs, 1000.0, ticks)
    rows = theirs.getvalue().decode().splitlines()
    found = percentile_text(ours(values), 1000.0, ticks).splitlines()
    assert found[:-3] == rows[:-3]
    assert found[-3].split("=")[1] == rows[-3].split("=")[1]
    assert found[-2].split() == [
        "#[Max",
        "=",
        f"{(ours(values).max if values else 0) / 1000:.3f},",
        "Total",
        "count",
        "=",
        f"{len(values)}]",
    ]
    assert found[-1].endswith("2048]")


def test_counts_packed_and_added_again_are_the_same():
    one, other = ours([1, 5, 5, 10**9]), ours([])
    add_packed(other, pack_counts(in_use(one.counts)))
    add_packed(other, pack_counts(in_use(one.counts)))
    assert (other.counts == 2 * one.counts).all()
    assert other.n == 8


def test_our_log_comes_back_whole(tmp_path):
    histograms = {"e2e": ours([-1, 5, HIGHEST_NS * 2]), "lateness": ours([1, 2, 3])}
    write_log(tmp_path / "a.hlog", histograms, 0.0, 1.0)
    found = read_log(tmp_path / "a.hlog")
    assert list(found) == list(histograms)
    for tag, histogram in histograms.items():
        assert (found[tag].counts == histogram.counts).all()
        assert (found[tag].n, found[tag].negative, found[tag].over) == (histogram.n, histogram.negative, histogram.over)


def test_we_read_the_references_log(tmp_path):
    values = list(range(0, 90_000_000, 4321))
    path = tmp_path / "theirs.hlog"
    with path.open("w") as file:
        log = HistogramLogWriter(file)
        log.output_log_format_version()
        log.output_legend()
        log.output_interval_histogram(reference(values), 1, 2)
        log.output_interval_histogram(reference(values), 2, 3)
    assert (read_log(path)[""].counts == 2 * ours(values).counts).all()


@pytest.mark.parametrize("tag", ["", "a,b", "a b", "a\nb"])
def test_a_tag_that_the_format_cannot_hold_is_refused(tmp_path, tag):
    with pytest.raises(ValueError, match="no comma and no white space"):
        write_log(tmp_path / "a.hlog", {tag: Histogram()}, 0.0, 1.0)


def test_what_is_damaged_or_of_another_layout_is_named_with_its_line(tmp_path):
    path = tmp_path / "a.hlog"
    text = encode(ours([1, 2, 3]))
    other = HdrHistogram(1, 1000, 2)
    other.record_value(5)
    cases = {
        "nonsense": "not a line of an HdrHistogram log",
        "1.000,1.000,0.000,@@@@": "damaged HdrHistogram encoding",
        f"1.000,1.000,0.000,{text[:-8]}": "cut off",
        f"1.000,1.000,0.000,{other.encode().decode()}": "histogram of 2 digits",
    }
    for line, message in cases.items():
        path.write_text(f"#[Histogram log format version 1.3]\n{line}\n")
        with pytest.raises(Incompatible, match=rf"a\.hlog:2: .*{message}"):
            read_log(path)


@given(st.binary(max_size=200), st.integers(0, 400), st.integers(0, 255))
def test_damaged_text_is_never_read_as_something_else_than_an_error_or_a_histogram(noise, at, byte):
    good = encode(ours([1, 5, 900, 40_000]))
    spoilt = bytearray(good.encode())
    spoilt[at % len(spoilt)] = byte
    for text in (noise.decode("latin-1"), spoilt.decode("latin-1")):
        try:
            found = decode(text)
        except Incompatible:
            continue
        assert (found.counts == decode(good).counts).all()  # zlib's own checksum lets nothing else through
