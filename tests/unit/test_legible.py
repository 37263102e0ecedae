"""What a results folder holds that no page, chart or terminal may show is replaced while it is read."""

import json
import unicodedata

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from make_results import POINTS, five, make

from bench.report import hgrm
from bench.store import open_run, read_json

# Every category of characters, lone surrogates and controls too.
texts = st.text(st.characters(codec=None, exclude_categories=()), max_size=12)


TURNING = {"LRE", "RLE", "LRO", "RLO", "PDF", "LRI", "RLI", "FSI", "PDI"}  # bidirectional classes


def harmful(c):
    return unicodedata.category(c) in {"Cc", "Cs"} or unicodedata.bidirectional(c) in TURNING or c in "\ufffe\uffff"


def shown(text):
    """What stays of a text, worked out by category."""
    return "".join("\ufffd" if c not in "\t\n\r" and harmful(c) else c for c in text)


@given(texts, texts, st.booleans())
@example("\ud83d", "\\u0000", False)
@example("a\x00", "\u202eb", True)
@example("\U0001f600", "\x85", False)
def test_each_string_and_each_name_is_legible(tmp_path_factory, key, value, ascii_only):
    try:
        written = json.dumps({key: [value, 1, None], "k": {"deep": value}}, ensure_ascii=ascii_only).encode("utf-8")
    except UnicodeEncodeError:
        written = json.dumps({key: [value, 1, None], "k": {"deep": value}}).encode()
    path = tmp_path_factory.getbasetemp() / "legible.json"
    path.write_bytes(written)
    # json joins two halves that meet
    key, value = (json.loads(json.dumps(one)) for one in (key, value))
    assert read_json(path) == {shown(key): [shown(value), 1, None], "k": {"deep": shown(value)}}


@pytest.mark.parametrize("length", [10, 170, 400])
def test_a_variant_of_any_length_has_its_percentiles(tmp_path, length):
    fakes = five()[:2]
    for fake, end in zip(fakes, "ab", strict=True):
        fake.id = "kafka," + "x" * length + end
    run = open_run(make(tmp_path / "run", fakes, rounds=1, samples=300, points=POINTS[:1]))
    names = [name for name, _ in hgrm.texts(run)]
    assert len(set(names)) == len(names) == 8
    assert max(map(len, names)) < 255
