"""The report of a made-up run: nothing fetched, nothing unescaped, each number of the first screen worked out again."""

from __future__ import annotations

import base64
import hashlib
import json
import re
import statistics
import xml.etree.ElementTree as ET
from html.parser import HTMLParser
from pathlib import Path

import pytest
from make_results import POINTS, Fake, finding, five, make

from bench.errors import EnvironmentProblem, UsageError
from bench.histogram import Histogram, read_log
from bench.report import ReportFiles, text, verdict, write
from bench.report.table import link
from bench.store import open_run

HOSTILE = "<script>alert(1)</script><img src=x onerror=alert(2)>\"'|`$x_1$ *b* [a](javascript:1) \u202e"


class Page(HTMLParser):
    """Tables as rows of text under their captions; each tag with its attributes."""

    def __init__(self, source: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.tables: dict[str, list[list[str]]] = {}
        self.words: list[str] = []
        self._cell: list[str] | None = None
        self._caption = False
        self.feed(source)

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        if tag == "caption":
            self._caption = True
        elif tag == "tr":
            self.tables[self._current].append([])
        elif tag in {"td", "th"}:
            self._cell = []

    def handle_endtag(self, tag):
        if tag == "caption":
            self._caption = False
        elif tag in {"td", "th"} and self._cell is not None:
            self.tables[self._current][-1].append("".join(self._cell).replace("\u00a0", " "))
            self._cell = None

    def handle_data(self, data):
        self.words.append(data)
        if self._caption:
            self._current = data
            self.tables.setdefault(data, [])
        elif self._cell is not None:
            self._cell.append(data)

    @property
    def plain(self) -> str:
        return " ".join(self.words)


def page_of(folder: Path) -> Page:
    return Page(write(folder).html.read_text())


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("report") / "run"
    return make(path, not_run=[{"variant": "kinesis", "reason": "no emulator here", "get": "pip install <it>"}])


@pytest.fixture(scope="module")
def files(folder: Path) -> ReportFiles:
    return write(folder)


@pytest.fixture(scope="module")
def page(files: ReportFiles) -> Page:
    return Page(files.html.read_text())


def test_one_file_that_fetches_nothing(files: ReportFiles, page: Page):
    source = files.html.read_text()
    assert len(source) < 3_000_000
    for tag, attributes in page.tags:
        assert tag not in {"link", "iframe", "object", "embed", "base", "img", "image", "foreignobject"}
        for name, value in attributes.items():
            assert not name.startswith("on")
            assert name != "style", "the policy allows no style in an attribute"
            if name in {"src", "href", "xlink:href", "srcset", "data", "action", "poster"}:
                assert (value or "").startswith("#") or (tag == "a" and (value or "").startswith("https://")), (tag, name, value)
    assert not re.search(r"@import|url\((?!#)", source)


def blocks(source: str, tag: str) -> list[str]:
    """The contents of each element of the name that is not data, as the browser takes its hash."""
    return re.findall(rf"<{tag}>(.*?)</{tag}>", source, re.DOTALL)


def test_the_policy_allows_our_own_style_and_script_and_nothing_else(files: ReportFiles, page: Page):
    source = files.html.read_text()
    policy = next(a["content"] for t, a in page.tags if t == "meta" and a.get("http-equiv"))
    directives = dict(part.strip().split(" ", 1) for part in policy.split(";"))
    (style,), (script,) = blocks(source, "style"), blocks(source, "script")

    def hashed(content: str) -> str:
        return f"'sha256-{base64.b64encode(hashlib.sha256(content.encode()).digest()).decode()}'"

    assert (directives["style-src"], directives["script-src"]) == (hashed(style), hashed(script))
    assert [directives[name] for name in ("default-src", "base-uri", "form-action")] == ["'none'"] * 3
    assert "unsafe" not in policy
    assert "innerHTML" not in script


def test_ids_are_unique_and_references_resolve(page: Page):
    ids = [a["id"] for _, a in page.tags if a.get("id")]
    assert len(ids) == len(set(ids))
    targets = {v[1:] for _, a in page.tags for k, v in a.items() if k in {"href", "xlink:href"} and v and v.startswith("#")}
    assert targets <= set(ids)


def test_charts_are_files_with_a_name_for_who_cannot_see_them(files: ReportFiles):
    # Two points, three charts and one over both; the emulator twice its cost, and once its percentiles (it did not reach 2,000/s).
    named = ["rates-1", *(f"{chart}-{point}" for chart in ("forest", "percentiles", "cost") for point in (1, 2))]
    assert sorted(p.stem for p in files.charts) == sorted([*named, "percentiles-emulated-1", "cost-emulated-1", "cost-emulated-2"])
    for path in files.charts:
        root = ET.parse(path).getroot()  # our own file
        assert root.get("role") == "img"
        assert "Apache Kafka" in root.get("aria-label", "") or "emulator" in root.get("aria-label", "")
        assert not [e for e in root.iter() if any(k.endswith("href") and not v.startswith("#") for k, v in e.attrib.items())]


def test_table_heads_have_scopes(page: Page):
    scopes = [a.get("scope") for t, a in page.tags if t == "th"]
    assert set(scopes) == {"col", "row", "rowgroup"}


def test_columns_of_what_is_no_loss_stand_only_where_there_is_some(page: Page, tmp_path: Path):
    caption = "Audit, 200/s, 256 B"
    plain = page.tables[caption][0]
    path = make(tmp_path / "run", five()[:2], rounds=1, samples=50)
    assert not {"dead lettered", "expired", "refused", "received only", "undelivered"} & set(plain)
    for one in path.glob("trials/*/trial.json"):
        trial = json.loads(one.read_text())
        for row in trial["audit"].values():
            row |= {"dead_lettered": 3, "expired": 0, "refused": 1, "received_only": 7}
        one.write_text(json.dumps(trial))
    changed = page_of(path)
    head, *rows = changed.tables[caption]
    assert head == [*plain[:-2], "dead lettered", "refused", "received only", *plain[-2:]]
    assert [row[-5:-2] for row in rows if len(row) == len(head)] == [["3", "1", "7"]] * sum(len(row) == len(head) for row in rows)
    assert "given up by the broker, and found in its dead-letter queue" in changed.plain


def merged(folder: Path, trials: list[dict]) -> Histogram:
    total = Histogram()
    for trial in trials:
        total.merge(read_log(folder / "trials" / f"{trial['trial']:04d}" / "latency.hlog")["e2e"])
    return total


def numbers(cell: str) -> list[float]:
    return [float(v.replace(",", "")) for v in re.findall(r"[\d,]+(?:\.\d+)?", cell)]


def in_ns(cell: str) -> float:
    return numbers(cell)[0] * {"ns": 1, "\u00b5s": 1e3, "ms": 1e6, "s": 1e9}[cell.split()[1]]


def test_the_first_tables_numbers_come_from_the_trials(folder: Path, page: Page):
    every = [json.loads(p.read_text()) for p in sorted(folder.glob("trials/*/trial.json"))]
    names = {
        "RabbitMQ (pika)": "rabbitmq",
        "Apache Kafka (kafka-python)": "kafka",
        "Redis Pub/Sub (redis)": "redis-pubsub",
        "ZeroMQ (pyzmq)": "zeromq",
    }
    for caption, rate in (("200/s, 256 B", 200), ("2,000/s, 256 B", 2000)):
        rows = {row[1]: row for row in page.tables[caption] if len(row) == 10}
        for name, variant in names.items():
            trials = [t for t in every if t["variant"]["id"] == variant and t["point"]["rate_per_s"] == rate]
            histogram, row = merged(folder, trials), rows[name]
            assert numbers(row[6])[0] == pytest.approx(statistics.median(t["rates"]["slowest_group_per_s"] for t in trials), rel=0.005)
            assert [in_ns(row[i]) for i in (3, 4, 5)] == pytest.approx([histogram.quantile(q) for q in (0.5, 0.99, 0.999)], rel=0.005)
            assert numbers(row[7])[0] == pytest.approx(statistics.median(t["cost"]["total_ns"] for t in trials) / 1e3, rel=0.005)
            assert row[8] == "clean, n = 54,000"
            assert row[9] == ("valid; client-bound" if (variant, rate) == ("rabbitmq", 2000) else "valid")
        p99 = {v: [t["latency"]["end_to_end_intended"]["p99_ns"] for t in sorted(every, key=lambda t: t["round"])
                   if t["variant"]["id"] == v and t["point"]["rate_per_s"] == rate] for v in ("kafka", "rabbitmq")}  # fmt: skip
        ratios = [a / b for a, b in zip(p99["kafka"], p99["rabbitmq"], strict=True)]
        expected = [statistics.median(ratios), min(ratios), max(ratios)]
        assert numbers(rows["Apache Kafka (kafka-python)"][2]) == pytest.approx(expected, abs=0.006)
        assert [rows[n][0] for n in names] == ["1", "2", text.DASH, text.DASH]


def test_emulators_stand_apart_and_are_called_so_everywhere(folder: Path, page: Page):
    for caption in ("200/s, 256 B", "2,000/s, 256 B"):
        assert not [row for row in page.tables[caption] if any("SQS" in cell for cell in row)]
        assert [row[0] for row in page.tables[f"Emulators, {caption}"][1:]] == ["Amazon SQS (boto3) [emulator: ElasticMQ]"]
    for rows in page.tables.values():
        for row in rows:
            named = [cell for cell in row if "Amazon SQS" in cell]
            assert not named or "emulator" in " ".join(row), row
    assert "Amazon SQS" not in (folder / "charts" / "cost-1.svg").read_text()


def test_no_acknowledgement_no_publish_latency(page: Page):
    rows = {row[0]: row for row in page.tables["Publish, 200/s, 256 B"]}
    assert rows["ZeroMQ (pyzmq)"] == [
        "ZeroMQ (pyzmq)",
        "",
        "n/a: no acknowledgement",
        "",
        "",
        "none (a send returns at: client library only)",
    ]
    assert rows["RabbitMQ (pika)"][5] == "server memory, 1 copy"
    assert in_ns(rows["RabbitMQ (pika)"][2]) > 0


def test_a_saturated_latency_is_not_printed(page: Page):
    row = page.tables["Emulators, 2,000/s, 256 B"][1]
    assert row[1:4] == ["", "saturated", ""]
    assert row[-1] == "rate-not-reached"


def test_versions_say_what_is_past_its_life(page: Page):
    rows = {row[0]: row for row in page.tables["Versions"]}
    assert rows["RabbitMQ"][2:5] == ["3.10.8", "2022-09-01", "2023-07-31, past when this ran"]
    assert rows["ZeroMQ"][1] == "none (no server)"
    assert rows["Amazon SQS"][1] == "ElasticMQ [emulator]"


def test_settings_that_differ_come_first(page: Page):
    rows = page.tables["Apache Kafka (kafka-python)"]
    assert rows[1:4] == [["Different"], ["producer.linger_ms", "0", "5"], ["Same"]]


def test_what_was_not_run_and_how_to_get_it(page: Page):
    assert ["kinesis", "no emulator here", "pip install <it>"] in page.tables["Not run"]


def test_headline_of_every_point_is_one_sentence_that_says_where(folder: Path):
    lines = verdict(open_run(folder)).splitlines()
    sentences = [line for line in lines if not line.startswith(" ")]
    assert len(sentences) == 3
    for line, rate in zip(sentences, ("200/s", "2,000/s"), strict=False):
        where = "at-least-once (acknowledgements differ), loopback on shared cores (ranges over 3 rounds)"
        assert line.startswith(f"order-events at {rate}, 256 B, {where}: RabbitMQ (pika) leads at p99 with ")
        assert re.search(r"then Apache Kafka \(kafka-python\) [\d.]+ ms \(ratio [\d.]+, [\d.]+\u2013[\d.]+\)", line)
        assert line.endswith("; none lost in 108,000 deliveries without a fault.")
        below = lines[lines.index(line) + 1 :]
        assert below[0].startswith("    At-most-once: Redis Pub/Sub (redis) ")
        assert below[1].startswith("    No delivery guarantee: ZeroMQ (pyzmq) ")
        assert below[2].startswith("    Tuned, shown beside: Apache Kafka (kafka-python), tuned, p99 ")
        assert below[3].startswith("    Emulated, apart: Amazon SQS (boto3) on ElasticMQ")
    assert sentences[2] == "order-events, not run: kinesis (no emulator here)."


def test_nothing_is_ranked_where_each_promises_something_else(tmp_path: Path):
    line = verdict(open_run(make(tmp_path / "r", [five()[4], five()[5]], points=POINTS[:1])))
    assert re.search(
        r": no two can be ranked against each other: p99 of Redis .* and ZeroMQ .*, which promise different things; none", line
    )


def test_overlapping_ranges_are_too_close_to_call(tmp_path: Path):
    same = [Fake(f"v{i}", "s", f"S{i}", "c", "at-least-once", "fsync", 3.0, (1, 1, 1), product="P") for i in (0, 1)]
    folder = make(tmp_path / "r", same, points=POINTS[:1], rounds=6)
    assert "too close to call at p99" in verdict(open_run(folder))
    ranks = [row[0] for row in page_of(folder).tables["200/s, 256 B"] if len(row) == 10]
    assert ranks[1:] == [f"1{text.DASH}2"] * 2


def test_a_broken_promise_is_in_the_first_sentence(tmp_path: Path):
    kafka, rabbit = five()[0], five()[2]
    kafka.verdict, kafka.lost = "violated", 2
    line = verdict(open_run(make(tmp_path / "r", [kafka, rabbit], points=POINTS[:1])))
    assert "Apache Kafka (kafka-python) broke what the mode promises" in line
    assert "leads" not in line.split("RabbitMQ")[0]
    assert "RabbitMQ (pika) " in line
    row = next(row for row in page_of(tmp_path / "r").tables["200/s, 256 B"] if row[0] == "promise broken")
    assert row[8:] == ["violated, 18 lost, n = 53,982", "valid"]


def test_markup_in_every_name_stays_text(tmp_path: Path):
    bad = Fake(HOSTILE, "s", HOSTILE, HOSTILE, "at-least-once", HOSTILE, 2.0, (1.0, 2.0, 3.0), product=HOSTILE, version=HOSTILE,
               released=HOSTILE, end_of_life=HOSTILE, findings={200: [finding("client-bound", HOSTILE, HOSTILE)]},
               settings={HOSTILE: {HOSTILE: HOSTILE}})  # fmt: skip
    failed = Fake("f", "f", HOSTILE, "c", HOSTILE, HOSTILE, 2.0, (1.0, 2.0, 3.0), status="failed", reason=HOSTILE)
    folder = make(
        tmp_path / "r",
        [bad, failed],
        scenario=HOSTILE,
        command=HOSTILE,
        not_run=[{"variant": HOSTILE, "reason": HOSTILE, "get": HOSTILE}],
    )
    (folder / "environment.json").write_text(json.dumps({HOSTILE: HOSTILE}))
    for path in folder.glob("trials/*/trial.json"):
        trial = json.loads(path.read_text())
        trial["variant"]["mode"]["source"] = "javascript:alert(1)"
        path.write_text(json.dumps(trial))
    files = write(folder)
    page = Page(files.html.read_text())
    assert not [t for t, _ in page.tags if t == "img"]
    data = re.findall(r'<script type="application/json" id="[a-z-]+">([^<]*)</script>', files.html.read_text())
    assert files.html.read_text().count("<script") == len(blocks(files.html.read_text(), "script")) + len(data) == 2
    assert "alert(1)" in json.dumps([json.loads(one) for one in data])
    assert not [a for t, a in page.tags if t == "a" and not (a.get("href") or "").startswith("#")]
    assert HOSTILE.replace(" ", "").replace("\u202e", "\ufffd") in page.plain.replace(" ", "")  # nothing turns what follows it
    # In Markdown only the fenced command may hold it as it is.
    outside = files.markdown.read_text().split("\n```\n")[0]
    assert "alert" in outside
    assert not re.search(r"<script|<img|(?<!\\)\]\(javascript", outside)
    for chart in files.charts:
        ET.parse(chart)  # well-formed whatever the names


def test_links_are_http_only():
    assert link("https://example.org/a") == "https://example.org/a"
    assert [link(u) for u in ("javascript:alert(1)", "data:text/html,x", 'https://a" onclick="x', "//x", "")] == [""] * 5


def test_markdown_tables_have_equal_columns(files: ReportFiles):
    lines = files.markdown.read_text().splitlines()
    widths: list[int] = []
    for line in lines:
        if line.startswith("|"):
            widths.append(len(re.findall(r"(?<!\\)\|", line)))
            assert widths[-1] == widths[0], line
        else:
            widths = []
    assert len("\n".join(lines)) < 65_536  # what a pull request's body holds


def test_equal_input_gives_equal_bytes(folder: Path, files: ReportFiles, tmp_path: Path):
    first, second = files, write(folder, tmp_path)
    assert first.html.read_bytes() == second.html.read_bytes()
    assert first.markdown.read_bytes() == second.markdown.read_bytes()
    assert [p.name for p in first.charts] == [p.name for p in second.charts]


def test_one_trial_is_a_report_that_establishes_no_order(tmp_path: Path):
    folder = make(tmp_path / "r", [five()[4]], rounds=1, points=POINTS[:1])
    assert "one round, so no order is established" in verdict(open_run(folder))
    assert "alone" in page_of(folder).tables["200/s, 256 B"][2]


def test_a_failed_system_has_its_row_and_its_reason(tmp_path: Path):
    broken = five()[0]
    broken.status, broken.reason = "failed", "kafka.1 died: no space left"
    folder = make(tmp_path / "r", [broken, five()[4]])
    page = page_of(folder)
    rows = [row for row in page.tables["200/s, 256 B"] if row[0] == "failed"]
    assert rows == [["failed", "Apache Kafka (kafka-python)", *[""] * 7, "kafka.1 died: no space left"]]
    assert "failed (kafka.1 died: no space left)" in verdict(open_run(folder))


def test_an_unsupported_point_is_a_cell_not_a_silence(tmp_path: Path):
    cannot = five()[5]
    cannot.status, cannot.reason = "unsupported", "unsupported, because nothing shares a channel"
    page = page_of(make(tmp_path / "r", [cannot, five()[4]]))
    assert [row[0] for row in page.tables["200/s, 256 B"] if "nothing shares a channel" in " ".join(row)] == ["unsupported"]
    assert ["Redis Pub/Sub (redis)", "unsupported, because nothing shares a channel", ""] in page.tables["Not run"]


def test_an_interrupted_run_says_what_is_missing(tmp_path: Path):
    folder = make(tmp_path / "r", [five()[4]], points=POINTS[:1], status="interrupted")
    for path in sorted((folder / "trials" / "0003").iterdir()):
        path.unlink()
    (folder / "trials" / "0003").rmdir()
    page = page_of(folder)
    assert "status is interrupted" in page.plain
    assert "1 of 3 planned trials are not in the folder" in page.plain
    assert ["3", "200/s, 256 B", "zeromq", "0", "3", "1", "", "", "did not run"] in page.tables["Order of execution"]


def test_nothing_measured_is_said(tmp_path: Path):
    folder = make(tmp_path / "r", [], points=())
    assert verdict(open_run(folder)) == "order-events: nothing was measured."
    assert "No trial was measured" in page_of(folder).plain


def test_a_folder_that_is_no_run_is_a_clear_error(tmp_path: Path):
    with pytest.raises(UsageError, match=re.escape(str(tmp_path))):
        write(tmp_path)


def test_a_place_that_cannot_be_written_is_a_clear_error(folder: Path, tmp_path: Path):
    (tmp_path / "file").write_text("")
    with pytest.raises(EnvironmentProblem, match="cannot be written"):
        write(folder, tmp_path / "file" / "out")


def test_numbers_keep_three_digits():
    assert [text.number(v) for v in (0, 0.01234, 1.306, 48.23, 99.96, 199.6, 1234.6)] == [
        "0",
        "0.0123",
        "1.31",
        "48.2",
        "100",
        "200",
        "1,235",
    ]
    assert [text.duration(v) for v in (None, 12, 1500, 999_600, 2.5e6, 3e9)] == [
        "n/a",
        "12.0 ns",
        "1.50 \u00b5s",
        "1.00 ms",
        "2.50 ms",
        "3.00 s",
    ]


def test_what_is_not_ranked_stands_by_its_reason_and_its_losses_are_said(tmp_path: Path):
    late = [five()[0], five()[2]]
    for fake in late:
        fake.findings = {200: [finding("sender-late")]}
    told = verdict(open_run(make(tmp_path / "r", late, points=POINTS[:1], rounds=2, samples=1200))).splitlines()
    assert told[0].endswith(": nothing could be ranked; none lost in 14,400 deliveries without a fault.")
    names = "Apache Kafka (kafka-python) and RabbitMQ (pika)"
    assert told[1] == f"    Not ranked: {names}, not valid (sender-late in 2 of 2 rounds)."
