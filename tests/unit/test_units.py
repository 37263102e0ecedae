"""Units: what is written is what is meant, and what is not clear is refused with what would be right."""

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench import units


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("5 s", 5.0),
        ("50 ms", 0.05),
        ("500 us", 0.0005),
        ("500 µs", 0.0005),
        ("10 ns", 1e-8),
        ("1.5min", 90.0),
        ("1 h", 3600.0),
        ("0.1 s", 0.1),
        (" 2  s ", 2.0),
    ],
)
def test_durations(text, seconds):
    assert units.duration_s(text) == seconds


@pytest.mark.parametrize(
    ("text", "size"),
    [("512 B", 512), ("1 KiB", 1024), ("1 kB", 1000), ("1 MB", 10**6), ("1.5 KiB", 1536), ("128MiB", 2**27), ("1 GiB", 2**30)],
)
def test_sizes(text, size):
    assert units.size_b(text) == size


@pytest.mark.parametrize(
    ("text", "rate"),
    [
        ("2 kHz", 2000.0),
        ("200/s", 200.0),
        ("2,000/s", 2000.0),
        ("2_000 /s", 2000.0),
        ("1.5 M/s", 1.5e6),
        ("0.5/s", 0.5),
        ("1e3 Hz", 1000.0),
    ],
)
def test_rates(text, rate):
    assert units.rate_per_s(text) == rate


@pytest.mark.parametrize(("given_", "number"), [(7, 7), ("10,000", 10_000), ("12", 12), ("1e3", 1000)])
def test_counts(given_, number):
    assert units.count(given_) == number


@pytest.mark.parametrize(
    ("parse", "value", "says"),
    [
        (units.duration_s, 5, '5 has no unit: write a duration such as "5 s"'),
        (units.duration_s, "5", "has no unit"),
        (units.duration_s, "5 KiB", "is not a unit of duration"),
        (units.duration_s, "5 ss", 'did you mean "5 s"?'),
        (units.duration_s, "", "is not a duration"),
        (units.duration_s, "s", "is not a duration"),
        (units.duration_s, "e5 s", "is not a duration"),
        (units.duration_s, "-1 s", "is negative"),
        (units.duration_s, "nan s", "is not a duration"),
        (units.duration_s, "1e999 s", "too large"),
        (units.duration_s, True, "a truth value where a duration belongs"),
        (units.duration_s, None, "nothing where a duration belongs"),
        (units.duration_s, [1], "a list where a duration belongs"),
        (units.duration_s, "5 s 3 ms", "is not a unit"),
        (units.size_b, "512", "has no unit"),
        (units.size_b, "0.3 B", "not a whole number of bytes"),
        (units.size_b, "1 kb", 'did you mean "1 kB"?'),
        (units.size_b, "5 s", "is not a unit of size"),
        (units.rate_per_s, 200, 'such as "200/s"'),
        (units.rate_per_s, "2 Khz", 'did you mean "2 kHz"?'),
        (units.rate_per_s, "2,0/s", "is not a"),
        (units.rate_per_s, "x" * 5000, "..."),
        (units.count, "10 ms", "plain number without a unit; write 10"),
        (units.count, 1.5, "not a whole number"),
        (units.count, "1.5", "not a whole number"),
        (units.count, True, "truth value"),
        (units.count, {}, "a mapping where a whole number belongs"),
        (units.count, "many", "is not a whole number"),
    ],
)
def test_what_is_not_clear_is_refused(parse, value, says):
    with pytest.raises(ValueError) as caught:
        parse(value)
    assert says in str(caught.value)
    assert len(str(caught.value)) < 300


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0, "0 s"), (0.05, "50 ms"), (5.0, "5 s"), (90.0, "90 s"), (120.0, "2 min"), (3600, "1 h"), (0.0005, "500 us"), (1.5, "1500 ms")],
)
def test_durations_print_in_a_whole_unit(seconds, text):
    assert units.show_duration(seconds) == text


@pytest.mark.parametrize(
    ("size", "text"), [(256, "256 B"), (1024, "1 KiB"), (1000, "1 kB"), (2**27, "128 MiB"), (10**6, "1 MB"), (65, "65 B")]
)
def test_sizes_print_in_a_whole_unit(size, text):
    assert units.show_size(size) == text


def test_rates_print_with_groups_of_three():
    assert units.show_rate(2000.0) == "2,000/s"
    assert units.show_rate(0.5) == "0.5/s"


@given(st.integers(0, 2**40))
def test_a_size_reads_back(size):
    assert units.size_b(units.show_size(size)) == size


@given(st.floats(1e-9, 3600.0))
def test_a_duration_reads_back(seconds):
    assert units.duration_s(units.show_duration(seconds)) == seconds


@given(st.floats(1e-6, 5e7))
def test_a_rate_reads_back(rate):
    assert units.rate_per_s(units.show_rate(rate)) == rate


@given(st.text())
def test_any_text_is_a_value_or_a_value_error(text):
    for parse in (units.duration_s, units.size_b, units.rate_per_s, units.count):
        with contextlib.suppress(ValueError):  # anything else escapes and fails
            assert parse(text) >= 0 or parse is units.count
