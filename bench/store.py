"""Results on disk (results/README.md): a run is one folder, a trial appears in it whole or not at all.

Writing: everything goes to a temporary name, is synced, and renamed; one process writes a run and holds a lock on it.
Reading: a folder that is foreign, truncated or of a newer format is told apart and named; what a crash or a commit left
out (logs, evidence, single files) is simply not there.
"""

from __future__ import annotations

import contextlib
import csv
import errno
import fcntl
import io
import json
import os
import re
import secrets
import shutil
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from types import TracebackType
from typing import Any, Protocol, Self

from bench import __version__
from bench.clock import epoch_s, utc_now
from bench.errors import EnvironmentProblem, Incompatible, UsageError
from bench.histogram import Histogram, Log, Slice, read_lines, write_log

FORMAT = 1
STATUSES = ("running", "complete", "interrupted", "failed")
TRIAL_DIGITS = 4

Json = dict[str, Any]

# Controls but tab and line ends, what turns the direction of a text, half a surrogate pair: an SVG with one is not well-formed, a
# figure after another reads backwards, the last cannot be written as UTF-8. A server's last words (`reason`) may well hold one.
_HIDDEN = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069\ud800-\udfff\ufffe\uffff]")
_ESCAPED = re.compile(r"\\(?:[bf]|u(?:00[01789]|202|206|[dD][89a-fA-F]|[fF]{3}))")  # how JSON may write them


class Described(Protocol):
    """What is kept of a scenario: bench.scenario.Scenario is one."""

    @property
    def name(self) -> str:
        """Of folder and run."""

    @property
    def seed(self) -> int:
        """Of the order of execution."""

    def to_yaml(self) -> str:
        """The effective scenario."""


def results_dir() -> Path:
    """Where runs are kept: BROKERBENCH_RESULTS, else results/runs of the current folder."""
    return Path(os.environ.get("BROKERBENCH_RESULTS") or Path("results") / "runs")


def stamp(utc: str) -> str:
    """A time as folders are named by it: 20261122-170102, of 2026-11-22T17:01:02.123Z."""
    return re.sub("[-:]", "", utc)[:15].replace("T", "-")


class RunWriter:
    """The one writer of one run. Every OSError becomes an EnvironmentProblem that names the folder and what would help."""

    def __init__(self, folder: Path, run: Json, lock: int) -> None:
        self.folder = folder
        self.run_id = str(run["id"])
        self._run = run
        self._lock: int | None = lock

    @classmethod
    def create(
        cls, results: Path | None, scenario: Described, *, command: str = "", kind: str = "run", run_id: str | None = None
    ) -> RunWriter:
        """Make the folder of a new run under ``results`` (None: results_dir()) with run.json, scenario.yaml and an empty plan.

        Raises EnvironmentProblem where nothing can be written, UsageError where ``run_id`` is taken.
        """
        started = utc_now()
        run_id = run_id or f"{scenario.name}-{stamp(started)}-{secrets.token_hex(2)}"
        parent = results_dir() if results is None else results
        folder = (parent / run_id).absolute()
        with _explained(folder):
            parent.mkdir(parents=True, exist_ok=True)
            try:
                folder.mkdir()
            except FileExistsError:
                raise UsageError(f"{folder} exists: a run is written into a folder of its own") from None
            lock = _locked(folder)
            run: Json = {
                "format": FORMAT,
                "kind": kind,
                "id": run_id,
                "brokerbench": __version__,
                "command": command,
                "started": started,
                "ended": None,
                "scenario": scenario.name,
                "seed": scenario.seed,
                "status": "running",
                "not_run": [],
            }
            writer = cls(folder, run, lock)
            try:
                _write(folder / "scenario.yaml", scenario.to_yaml())
                _write(folder / "plan.json", "[]\n")
                (folder / "trials").mkdir()
                writer._save_run()
            except BaseException:
                writer.close()
                raise
        return writer

    @classmethod
    def reopen(cls, folder: Path) -> RunWriter:
        """Go on with a run that was interrupted; raises EnvironmentProblem while another process writes it."""
        run = _run_json(folder)
        with _explained(folder):
            lock = _locked(folder)
            for leftover in (folder / "trials").glob(".*"):
                shutil.rmtree(leftover, ignore_errors=True)
            writer = cls(folder, run, lock)
            writer.update_run(status="running", ended=None)
        return writer

    def save_scenario(self, made: Callable[[], str]) -> None:
        """scenario.yaml; ``made`` may first put files beside it that it names."""
        with _explained(self.folder):
            _write(self.folder / "scenario.yaml", made())

    def save_plan(self, plan: Sequence[Mapping[str, Any]]) -> None:
        """plan.json, in order of execution."""
        with _explained(self.folder):
            _write(self.folder / "plan.json", "[\n" + ",\n".join(json.dumps(entry, allow_nan=False) for entry in plan) + "\n]\n")

    def save_environment(self, environment: Mapping[str, Any]) -> None:
        """environment.json, as bench.environment.capture() gives it."""
        with _explained(self.folder):
            _write(self.folder / "environment.json", _json(environment))

    def save_data(self, name: str, data: Mapping[str, Any]) -> None:
        """Write a file of this kind of run's own, such as overhead.json; it replaces what was there, whole or not at all."""
        with _explained(self.folder):
            _write(self.folder / name, _json(data))

    def save_text(self, name: str, text: str) -> None:
        """Write a page of this kind of run's own, such as gate.md; it replaces what was there, whole or not at all."""
        with _explained(self.folder):
            _write(self.folder / name, text)

    def save_trial(
        self, number: int, trial: Mapping[str, Any], histograms: Mapping[str, Histogram], series: Sequence[Mapping[str, Any]] = (),
        slices: Mapping[str, Iterable[Slice]] | None = None,
    ) -> None:  # fmt: skip
        """Write one trial so that it is there whole or not at all, then its row of trials.csv.

        ``histograms`` by tag, ``series`` the rows of series.csv, ``slices`` of tags over time (bench.histogram.write_log).
        Raises EnvironmentProblem (disk full, read-only), UsageError where the trial is there already.
        """
        trials = self.folder / "trials"
        final, temporary = trials / _numbered(number), trials / f".{_numbered(number)}.new"
        if final.exists():
            raise UsageError(f"{final} exists: a trial is written once")
        with _explained(self.folder):
            try:
                temporary.mkdir()
                _write(temporary / "trial.json", _json({"format": FORMAT, **trial}))
                if histograms:
                    start_s = _epoch_s(trial.get("started")) if slices is None else _window_epoch_s(trial)
                    write_log(temporary / "latency.hlog", histograms, start_s, trial.get("window_s") or 0.0, slices)
                    _synced(temporary / "latency.hlog")
                if series:
                    _write(temporary / "series.csv", _csv(list(series[0]), series))
                _synced(temporary)
                temporary.rename(final)
            except BaseException:
                shutil.rmtree(temporary, ignore_errors=True)  # also gives the disk its room back
                raise
            _synced(trials)
            self._append_row(row(trial))

    def update_run(self, **changes: Any) -> None:
        """Change fields of run.json."""
        self._run |= changes
        with _explained(self.folder):
            self._save_run()

    def finish(self, status: str) -> None:
        """Set the end and ``status`` (one of STATUSES), and let go of the folder. Idempotent."""
        if status not in STATUSES:
            raise ValueError(f"status {status!r} is none of {STATUSES}")
        if self._lock is None:
            return
        try:
            self.update_run(status=status, ended=utc_now())
        finally:
            self.close()

    def close(self) -> None:
        """Let go of the folder without a word: it then counts as interrupted. Idempotent."""
        lock, self._lock = self._lock, None
        if lock is not None:
            os.close(lock)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    def _save_run(self) -> None:
        _write(self.folder / "run.json", _json(self._run))

    def _append_row(self, cells: Mapping[str, Any]) -> None:
        """trials.csv is derived (the trials' own files decide), so a torn last line would do no harm."""
        path = self.folder / "trials.csv"
        text = _csv(list(cells), [cells])
        with path.open("a", encoding="utf-8", newline="") as file:
            file.write(text if file.tell() == 0 else text.split("\n", 1)[1])


@dataclass(frozen=True)
class Run:
    """A run as it lies on disk, read once. ``trials`` are the dicts of trial.json in order of their number."""

    folder: Path
    run: Json
    plan: list[Json] = field(default_factory=list)
    environment: Json = field(default_factory=dict)
    scenario_text: str = ""
    trials: list[Json] = field(default_factory=list)

    @property
    def status(self) -> str:
        """One of STATUSES; a run that says "running" while nobody holds its lock was interrupted."""
        status = str(self.run.get("status"))
        return "interrupted" if status == "running" and not in_use(self.folder) else status

    def histograms(self, number: int) -> dict[str, Histogram]:
        """Latencies of a trial by tag; empty where it has none. Raises Incompatible for a damaged file."""
        return self.log(number).histograms()

    def log(self, number: int) -> Log:
        """latency.hlog of a trial; without a line where it has none. Raises Incompatible for a damaged file."""
        path = self.folder / "trials" / _numbered(number) / "latency.hlog"
        try:
            return read_lines(path)
        except FileNotFoundError:
            return Log((), 0.0, {})
        except (OSError, UnicodeDecodeError) as error:
            raise UsageError(f"{path}: cannot be read: {error}") from error

    def data(self, name: str) -> Json:
        """What `save_data` wrote; raises what read_data() raises."""
        return read_data(self.folder, name)

    def series(self, number: int) -> list[dict[str, int]]:
        """Messages in each second of a trial: the rows of series.csv; empty where it has none."""
        path = self.folder / "trials" / _numbered(number) / "series.csv"
        try:
            with path.open(encoding="utf-8", newline="") as file:
                return [{name: int(cell) for name, cell in line.items()} for line in csv.DictReader(file)]
        except FileNotFoundError:
            return []
        except (OSError, ValueError, TypeError) as error:  # TypeError: a cell is missing
            raise UsageError(f"{path}: not whole: {error}") from error


def kind(folder: Path) -> str:
    """What a folder's run.json says it is of; "" where it has none. Raises UsageError where it cannot be read."""
    return str(_run_json(folder)["kind"]) if (Path(folder) / "run.json").is_file() else ""


def open_run(folder: Path, damaged: Callable[[str], None] | None = None) -> Run:
    """Read a run; raises UsageError for what is not one or not whole, Incompatible for a newer format.

    ``damaged``: is told what cannot be read, in words, and the rest is returned; only a run.json that cannot be read raises then.
    """
    folder = Path(folder)
    run = _run_json(folder)
    plan = _tolerated(_part, damaged, folder / "plan.json", list)
    environment = _tolerated(_part, damaged, folder / "environment.json", dict)
    text = _tolerated(_text, damaged, folder / "scenario.yaml")
    return Run(folder, run, plan or [], environment or {}, text or "", list(_trials(folder, damaged)))


def _tolerated(read: Callable[..., Any], damaged: Callable[[str], None] | None, *what: Any) -> Any:
    """What ``read`` returns; None where it cannot and somebody wants to be told of it."""
    try:
        return read(*what)
    except (UsageError, Incompatible) as error:
        if damaged is None:
            raise
        damaged(str(error))
        return None


def _text(path: Path) -> str:
    """A file of the run; what is missing is empty."""
    try:
        return _HIDDEN.sub("\ufffd", path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return ""
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"{path}: cannot be read: {error}") from error


def read_data(folder: Path, name: str) -> Json:
    """Read a file that `save_data` wrote; raises UsageError where it is missing or damaged, Incompatible for a newer format."""
    path = Path(folder) / name
    try:
        data: Json = _check_kind(path, read_json(path), dict)
    except (FileNotFoundError, NotADirectoryError) as error:
        raise UsageError(f"{path}: missing, and the report of this run is made from it") from error
    _check_format(path, data)
    return data


def latest(results: Path | None = None) -> Path:
    """The folder of the run that was started last; raises UsageError where there is none."""
    return find(results)


def find(results: Path | None = None, which: str = "latest") -> Path:
    """The folder of a run: "latest", an id, the beginning of one (the last such run), or a path. Raises UsageError."""
    parent = results_dir() if results is None else results
    if which != "latest" and (Path(which) / "run.json").is_file():
        return Path(which)
    begun: list[tuple[str, str, Path]] = []
    for candidate in parent.glob("*/run.json"):
        with contextlib.suppress(UsageError, Incompatible):  # a broken neighbour does not hide a sound run
            begun.append((str(_run_json(candidate.parent).get("started")), candidate.parent.name, candidate.parent))
    if not begun:
        if Path(which).is_dir():
            return Path(which)  # open_run() says what it lacks
        named = "" if which == "latest" else f'no run "{which}": '
        raise UsageError(f"{named}no run in {parent}: make one by `brokerbench run order-events`, or name a run's folder")
    matching = [one for one in begun if which == "latest" or one[1].startswith(which)]
    if not matching:
        shown = ", ".join(name for _, name, _ in sorted(begun)[-5:])
        raise UsageError(f'no run "{which}" in {parent}; the last ones: {shown}')
    return max(matching)[2]


def in_use(folder: Path) -> bool:
    """Whether a process writes this run now."""
    try:
        lock = os.open(folder / ".lock", os.O_RDWR)
    except OSError:
        return False
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(lock)
    return False


def row(trial: Mapping[str, Any]) -> Json:
    """The row of trials.csv of one trial: what a spreadsheet wants first."""
    latency, publish = _at(trial, "latency", "end_to_end_intended"), _at(trial, "latency", "publish")
    audit = list((trial.get("audit") or {}).values())
    cells: Json = {"trial": trial.get("trial"), **{str(name): value for name, value in (trial.get("point") or {}).items()}}
    cells["variant"] = _at(trial, "variant").get("id")
    cells |= {name: trial.get(name) for name in ("series", "round", "position", "lane", "status", "reason")}
    rates = ("offered_per_s", "published_per_s", "slowest_group_per_s", "slowest_group_b_per_s")
    cells |= {name: _at(trial, "rates").get(name) for name in rates}
    cells |= {f"e2e_{name}": latency.get(name) for name in ("p50_ns", "p90_ns", "p99_ns", "p999_ns")}
    cells |= {f"publish_{name}": publish.get(name) for name in ("p50_ns", "p99_ns")}
    cells["cpu_ns_per_delivery"] = _at(trial, "cost").get("total_ns")
    for name in ("lost", "duplicated", "reordered", "corrupted", "unexpected"):
        counts = [group.get(name) for group in audit]
        cells[name] = sum(counts) if counts and None not in counts else None
    cells["verdicts"] = " ".join(sorted({str(group.get("verdict")).replace(" ", "-") for group in audit}))
    cells["findings"] = " ".join(str(finding.get("code")) for finding in trial.get("findings") or ())
    return cells


def _at(trial: Mapping[str, Any], *path: str) -> Mapping[str, Any]:
    """A part of a trial, empty where it was not measured."""
    part: Any = trial
    for name in path:
        part = part.get(name) or {}
    return part if isinstance(part, Mapping) else {}


def _trials(folder: Path, damaged: Callable[[str], None] | None) -> Iterator[Json]:
    paths = [path for path in (folder / "trials").glob("[0-9]*/trial.json") if path.parent.name.isdigit()]
    for path in sorted(paths, key=lambda one: int(one.parent.name)):
        trial = _tolerated(_trial, damaged, path)
        if trial is not None:
            yield trial


def _trial(path: Path) -> Json:
    trial: Json = _check_kind(path, read_json(path), dict)
    _check_format(path, trial)
    if trial.get("trial") != int(path.parent.name):
        raise UsageError(f"{path}: is of trial {trial.get('trial')}, not of the folder it lies in")
    return trial


def _run_json(folder: Path) -> Json:
    path = folder / "run.json"
    try:
        run: Json = _check_kind(path, read_json(path), dict)
    except FileNotFoundError:
        if not folder.is_dir():
            raise UsageError(
                f"{folder}: no such folder; a run is a folder such as results/runs/order-events-20261122-170102-ab12"
            ) from None
        runs = sorted(found.parent.name for found in folder.glob("*/run.json"))
        hint = f"; it holds runs, name one of them, such as {folder / runs[-1]}" if runs else "; a run's folder has a run.json"
        raise UsageError(f"{folder} is not a run{hint}") from None
    except NotADirectoryError:
        raise UsageError(f"{folder} is a file; name the folder of a run") from None
    if not {"format", "id", "kind"} <= set(run):
        raise UsageError(f"{path}: not of brokerbench: format, id or kind is missing")
    _check_format(path, run)
    return run


def _check_format(path: Path, data: Json) -> None:
    found = data.get("format")
    if not isinstance(found, int) or isinstance(found, bool) or found < 1:
        raise UsageError(f"{path}: format {found!r} is not a number from 1")
    if found > FORMAT:
        raise Incompatible(f"{path}: format {found}; this brokerbench {__version__} reads up to format {FORMAT}: update it")


def _check_kind(path: Path, data: Any, kind: type) -> Any:
    if not isinstance(data, kind):
        raise UsageError(f"{path}: a {kind.__name__} belongs here, not a {type(data).__name__}")
    return data


def _part(path: Path, kind: type) -> Any:
    """A file of the run; what is missing is empty."""
    try:
        return _check_kind(path, read_json(path), kind)
    except FileNotFoundError:
        return kind()


def read_json(path: Path) -> Any:
    """A file's data; UsageError for what is no JSON. FileNotFoundError and NotADirectoryError pass: their meaning differs."""
    try:
        text = path.read_text(encoding="utf-8")
        data = json.loads(text)
        return _legible(data) if _HIDDEN.search(text) or _ESCAPED.search(text) else data
    except (FileNotFoundError, NotADirectoryError):
        raise
    except OSError as error:
        raise UsageError(f"{path}: cannot be read: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise UsageError(f"{path}: not JSON in UTF-8") from error
    except json.JSONDecodeError as error:
        raise UsageError(f"{path}:{error.lineno}: not whole JSON ({error.msg}); the file is damaged or cut off") from error
    except RecursionError as error:
        raise UsageError(f"{path}: nested too deep to be of brokerbench") from error


def _legible(node: Any) -> Any:
    """The same data; in its strings U+FFFD stands for what no text may hold (_HIDDEN)."""
    if isinstance(node, str):
        return _HIDDEN.sub("\ufffd", node)
    if isinstance(node, dict):
        return {_HIDDEN.sub("\ufffd", key): _legible(value) for key, value in node.items()}
    return [_legible(one) for one in node] if isinstance(node, list) else node


def _numbered(number: int) -> str:
    return f"{number:0{TRIAL_DIGITS}d}"


def _json(data: Mapping[str, Any]) -> str:
    """NaN is an error here rather than in a reader's browser: what is not known is null."""
    return json.dumps(data, indent=1, ensure_ascii=False, allow_nan=False) + "\n"


def _csv(names: Sequence[str], rows: Sequence[Mapping[str, Any]]) -> str:
    text = io.StringIO()
    writer = csv.DictWriter(text, names, lineterminator="\n")
    writer.writeheader()
    # A reason may have several lines; in a table each trial has one.
    writer.writerows({key: " ".join(value.split()) if isinstance(value, str) else value for key, value in one.items()} for one in rows)
    return text.getvalue()


def _write(path: Path, text: str) -> None:
    """Whole or not at all, and on the disk when it returns."""
    temporary = path.with_name(f".{path.name}.new")
    try:
        with temporary.open("w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def _synced(path: Path) -> None:
    """A file or a folder on the disk: a rename is lasting only once its folder is."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _epoch_s(started: object) -> float:
    return datetime.fromisoformat(started).timestamp() if isinstance(started, str) else 0.0


def _window_epoch_s(trial: Mapping[str, Any]) -> float:
    """When the measured window began, in seconds since 1970."""
    return epoch_s(trial["go_ns"]) + float(trial["workload"]["warmup_s"])


def _locked(folder: Path) -> int:
    lock = os.open(folder / ".lock", os.O_RDWR | os.O_CREAT, 0o644)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(lock)
        raise EnvironmentProblem(f"{folder}: another process is writing this run; wait for it, or run into a folder of its own") from None
    return lock


_HELP = {
    errno.ENOSPC: "free some room, or write elsewhere (--results DIR, BROKERBENCH_RESULTS)",
    errno.EDQUOT: "free some of your quota, or write elsewhere (--results DIR, BROKERBENCH_RESULTS)",
    errno.EFBIG: "the file is over the limit of this process (ulimit -f)",
    errno.EROFS: "write elsewhere (--results DIR, BROKERBENCH_RESULTS)",
    errno.EACCES: "you may not write there: write elsewhere (--results DIR, BROKERBENCH_RESULTS)",
    errno.EPERM: "you may not write there: write elsewhere (--results DIR, BROKERBENCH_RESULTS)",
    errno.ENOTDIR: "a part of the path is a file: write elsewhere (--results DIR, BROKERBENCH_RESULTS)",
    errno.EEXIST: "a file is in the way: write elsewhere (--results DIR, BROKERBENCH_RESULTS)",
}


@contextlib.contextmanager
def _explained(folder: Path) -> Iterator[None]:
    """What the disk says, in words that help."""
    try:
        yield
    except OSError as error:
        help_ = _HELP.get(error.errno or 0, "results cannot be kept there")
        raise EnvironmentProblem(f"{folder}: {error.strerror or error}; {help_}. Trials written before are whole") from error
