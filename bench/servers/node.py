"""Servers on Node.js: where node is, and a package with what it needs, by npm, once."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

from bench.errors import ServerError
from bench.servers.home import building, home

NPM_TIMEOUT_S = 300.0


def node_needed() -> Path:
    """The node command; ServerError where there is none."""
    found = shutil.which("node")
    if found is None:
        raise ServerError("no node on the path; get it by: apt-get install nodejs")
    return Path(found)


def modules(name: str, version: str) -> Path:
    """Where a package's modules are, or will be."""
    return home() / f"{name}-{version}" / "node_modules"


def missing_modules(system: str, name: str, version: str) -> str | None:
    """What is missing for a server from npm, and how to get it; None = all there."""
    if shutil.which("node") is None:
        return "no Node.js: apt-get install nodejs npm"
    if not modules(name, version).is_dir():
        return f"{name} is not in {home()}: python -m bench.servers.install {system} (needs npm)"
    return None


def fetch_modules(name: str, version: str) -> None:
    """Get a package by npm, once; no script of a package is run. The caller holds the lock. Raises ServerError."""
    target = modules(name, version).parent
    if modules(name, version).is_dir():
        return
    npm = shutil.which("npm")
    if npm is None:
        raise ServerError(f"{name}: no npm on the path, which gets it; get it by: apt-get install npm")
    with building(target) as folder:
        words = ["install", "--prefix", str(folder), "--ignore-scripts", "--omit=optional", "--no-audit", "--no-fund", f"{name}@{version}"]
        try:
            done = subprocess.run([npm, *words], check=False, capture_output=True, text=True, timeout=NPM_TIMEOUT_S, cwd=folder)
        except subprocess.TimeoutExpired as error:
            raise ServerError(f"{name}: npm did not get it within {NPM_TIMEOUT_S:g} s") from error
        if done.returncode != 0:
            lines = "\n".join(f"  {line}" for line in (done.stdout + done.stderr).splitlines()[-15:])
            raise ServerError(f"{name}: npm did not get it (exit code {done.returncode}):\n{lines}")
