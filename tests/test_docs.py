"""The pages say what is so: their commands parse, their files and make targets exist, what they list is what there is."""

import re
import shlex
from pathlib import Path

import pytest

import adapters
from bench import cli, scenario, spec, verbs
from bench.guarantees.named import FAULTS

ROOT = Path(__file__).resolve().parent.parent
PAGES = [ROOT / "README.md", ROOT / "results" / "README.md", *sorted(ROOT.glob("docs/**/*.md"))]
FOLDERS = ("bench", "adapters", "tests", "docs", "scenarios", "results", "benchmarks", "tools")
MADE_LATER = ("results/runs", "results/reference", "results/evidence")  # by runs
OWN_NAMES = {"shelf"}  # docs/add-a-system.md builds it


def fenced(text):
    return re.findall(r"^```[^\n]*\n(.*?)^```", text, re.MULTILINE | re.DOTALL)


def inline(text):
    without = re.sub(r"^```.*?^```", "", text, flags=re.MULTILINE | re.DOTALL)
    return [re.sub(r"\s+", " ", code) for code in re.findall(r"`([^`]+)`", without)]


def code_lines(page):
    """Every command-like line: of code blocks, without prompt and comment, and what stands in backquotes."""
    text = page.read_text(encoding="utf-8")
    lines = [line for block in fenced(text) for line in block.replace("\\\n", " ").splitlines()]
    return [re.sub(r"\s+#\s.*$", "", line).strip().removeprefix("$ ") for line in lines] + inline(text)


def commands(page):
    """Words of each brokerbench command on the page, without the program's own."""
    found = []
    for line in code_lines(page):
        match = re.fullmatch(r"(?:[A-Z_]+=\S+ )*(?:\S*/)?brokerbench((?: .*)?)", line)
        if match and "..." not in match[1]:
            found.append(shlex.split(match[1].partition(" > ")[0].partition(" | ")[0]))
    return found


def checked(words):
    """Parse a command as the program would, and what it names: scenarios, systems, axes."""
    if not words:
        return
    try:
        args = cli._parser().parse_args(words)
    except SystemExit as ended:
        if ended.code not in (0, None):  # --help and --version end well
            raise ValueError(f"brokerbench {shlex.join(words)}: not a command") from None
        return
    if args.verb in ("run", "capacity"):
        found = scenario.load(args.scenario if "/" not in args.scenario else ROOT / args.scenario) if args.scenario[0].islower() else None
        if args.systems:
            spec.parse_all(args.systems, {*adapters.names(), *OWN_NAMES})
        if found is not None and args.set:
            found.override(axes=verbs._axes(args.set))
    if args.verb == "systems":
        assert {text.partition(",")[0] for text in args.system} <= {*adapters.names(), *OWN_NAMES}
    if args.verb == "servers":
        assert {variant.system for variant in spec.parse_all(args.system)} <= set(adapters.names())


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_commands_parse(page):
    for words in commands(page):
        checked(words)


def test_the_readme_has_commands_to_check():
    assert len(commands(ROOT / "README.md")) >= 5
    assert {words[0] for words in commands(ROOT / "README.md") if words} <= set(verbs.VERBS)


@pytest.mark.parametrize(
    "wrong",
    [
        ["run"],
        ["run", "order-event"],
        ["run", "order-events", "--system", "x", "--nosuch"],
        ["run", "order-events", "--systems", "kafka,zeromq"],
        ["run", "order-events", "--set", "colour=red"],
        ["explode"],
    ],
)
def test_a_wrong_command_would_be_found(wrong):
    with pytest.raises(Exception, match=r"not a command|no scenario|not key=value|unknown axis"):
        checked(wrong)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_files_exist(page):
    text = page.read_text(encoding="utf-8")
    missing = [target for target in re.findall(r"\]\(([^)#:\s]+)(?:#[^)]*)?\)", text) if not (page.parent / target).exists()]
    for code in inline(text):
        path = code.partition("::")[0].rstrip("/")
        if not re.fullmatch(rf"(?:{'|'.join(FOLDERS)})/[\w.*/-]+", path) or path.startswith(MADE_LATER):
            continue
        if re.search(r"[A-Z]{4,}", path):  # a place holder, as in bench/servers/NAME.py (README.md has a folder of its own)
            path = str(Path(path).parent)
        if not list(ROOT.glob(path)):
            missing.append(code)
    assert missing == []


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_make_targets_exist(page):
    targets = set(re.findall(r"^([a-z][a-z-]*):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE))
    asked = {match[1] for line in code_lines(page) if (match := re.match(r"make ([a-z][a-z-]*)", line))}
    assert asked <= targets


def test_the_readme_lists_the_systems_that_there_are():
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    for name in scenario.load("order-events").systems:
        title = adapters.load(name).capabilities.system.split()[-1]
        assert title.lower() in text.lower(), f"README.md does not name {title}"


def test_the_table_of_faults_has_every_fault_of_the_matrix():
    text = (ROOT / "docs" / "guarantees.md").read_text(encoding="utf-8")
    table = text.partition("| fault | what is done |\n")[2].partition("\n\n")[0]
    listed = re.findall(r"`([a-z-]+)`", " ".join(row.split(" | ")[0] for row in table.splitlines()))
    assert sorted(listed) == sorted(FAULTS)


def test_every_page_is_reached_from_the_readme_or_a_page_of_docs():
    linked = set()
    for page in PAGES:
        targets = re.findall(r"\]\(([^)#:\s]+)(?:#[^)]*)?\)", page.read_text(encoding="utf-8"))
        linked |= {(page.parent / target).resolve() for target in targets}
    lost = [
        str(page.relative_to(ROOT)) for page in PAGES[1:] if page not in linked and not any(parent in linked for parent in page.parents)
    ]
    assert lost == []
