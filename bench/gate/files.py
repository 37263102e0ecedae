"""What a pipeline reads of a gate: JUnit XML, github-action-benchmark's files, Markdown for the job's page."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench.errors import EnvironmentProblem
from bench.gate.result import page


@dataclass(frozen=True)
class Files:
    """Where to write what; None: not asked for."""

    junit: Path | None = None
    github_benchmark: Path | None = None  # a folder
    summary: Path | None = None  # appended to, as a job's page is made of several steps

    def prepare(self) -> None:
        """Make the folders that they lie in, before anything is measured; raises EnvironmentProblem where that cannot be."""
        folders = [self.github_benchmark, *(file.parent for file in (self.junit, self.summary) if file is not None)]
        for folder in folders:
            if folder is not None:
                try:
                    folder.mkdir(parents=True, exist_ok=True)
                except OSError as error:
                    raise EnvironmentProblem(f"{folder} cannot be made: {error.strerror}") from error

    def write(self, data: Mapping[str, Any]) -> None:
        """Write them of gate.json; raises EnvironmentProblem where one cannot be written."""
        try:
            if self.summary is not None:
                with self.summary.open("a", encoding="utf-8") as file:
                    file.write(page(data) + "\n")
            if self.junit is not None:
                from bench.report.gate_junit import junit  # noqa: PLC0415  # with the report's parts: a second

                self.junit.write_text(junit(data), encoding="utf-8")
            if self.github_benchmark is not None:
                self._write_benchmark(self.github_benchmark, data)
        except OSError as error:
            raise EnvironmentProblem(f"{error.filename} cannot be written: {error.strerror}") from error

    @staticmethod
    def _write_benchmark(folder: Path, data: Mapping[str, Any]) -> None:
        from bench.report.gate_benchmark import entries  # noqa: PLC0415  # as above

        for name, listed in entries(data).items():
            if listed:
                (folder / name).write_text(json.dumps(listed, indent=1) + "\n", encoding="utf-8")
            else:  # one of an earlier gate would be taken for this one's; of an empty list the action makes an error
                (folder / name).unlink(missing_ok=True)
