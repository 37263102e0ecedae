"""Servers on the JVM: where Java is, jars by Maven, class archives that make the second start quick."""

from __future__ import annotations

import contextlib
import hashlib
import os
import shutil
import subprocess
import tempfile
import uuid
from collections.abc import Iterator
from pathlib import Path
from string import Template

from bench.errors import ServerError
from bench.guard import Guard
from bench.servers.common import DATA, failure
from bench.servers.home import building, home

MAVEN_TIMEOUT_S = 600.0
ARCHIVE_STOP_S = 60.0  # a JVM that writes an archive takes 4 s [M]


def java() -> Path | None:
    """The java command: that of JAVA_HOME, else the one on the path; None where there is none."""
    given = os.environ.get("JAVA_HOME", "")
    if given and (Path(given) / "bin" / "java").is_file():
        return Path(given) / "bin" / "java"
    found = shutil.which("java")
    return Path(found) if found else None


def java_needed() -> Path:
    """The java command; ServerError where there is none."""
    found = java()
    if found is None:
        raise ServerError("no java on the path and no JAVA_HOME; get it by: apt-get install default-jre-headless")
    return found


def libs(name: str, version: str) -> Path:
    """Where a server's jars are, or will be."""
    return home() / f"{name}-{version}" / "libs"


def missing_jars(name: str, version: str) -> str | None:
    """What is missing for a server from jars, and how to get it; None = all there."""
    if java() is None:
        return "no Java: apt-get install default-jre-headless"
    if not libs(name, version).is_dir():
        return f"its jars are not in {home()}: python -m bench.servers.install {name} (needs Maven)"
    return None


def fetch_jars(name: str, version: str) -> Path:
    """Get a server's jars by Maven from bench/data/NAME.pom.xml, once. The caller holds the lock. Raises ServerError."""
    target = libs(name, version)
    if target.is_dir():
        return target
    maven = shutil.which("mvn")
    if maven is None:
        raise ServerError(f"{name}: no mvn on the path, which gets its jars; get it by: apt-get install maven")
    with building(target) as folder:
        work = folder / ".work"
        work.mkdir()
        pom = work / "pom.xml"
        pom.write_text(Template((DATA / f"{name}.pom.xml").read_text(encoding="utf-8")).substitute(version=version), encoding="utf-8")
        cmd = [
            maven,
            "-q",
            "-B",
            "-ntp",
            "-f",
            str(pom),
            "dependency:copy-dependencies",
            f"-DoutputDirectory={folder}",
            "-DincludeScope=runtime",
        ]
        try:
            done = subprocess.run(cmd, check=False, capture_output=True, text=True, timeout=MAVEN_TIMEOUT_S, cwd=work)
        except subprocess.TimeoutExpired as error:
            raise ServerError(f"{name}: Maven did not get the jars within {MAVEN_TIMEOUT_S:g} s") from error
        if done.returncode != 0:
            lines = "\n".join(f"  {line}" for line in (done.stdout + done.stderr).splitlines()[-15:])
            raise ServerError(f"{name}: Maven did not get the jars (exit code {done.returncode}):\n{lines}")
        shutil.rmtree(work)
    return target


def class_path(folder: Path) -> str:
    """All jars of a folder, explicitly and sorted: a class archive fits one order only, and '*' has none."""
    return os.pathsep.join(str(jar) for jar in sorted(folder.glob("*.jar")))


def archive_file(name: str, version: str) -> Path:
    """Where the class archive of a server is: one for each Java, since another one refuses it."""
    release = java_needed().resolve().parent.parent / "release"
    identity = release.read_bytes() if release.is_file() else str(release).encode()
    return libs(name, version).parent / f"classes-{hashlib.sha256(identity).hexdigest()[:12]}.jsa"


def archive_flags(name: str, version: str) -> list[str]:
    """Flags that use the class archive where it is there; without it the server starts all the same, later."""
    archive = archive_file(name, version)
    return [f"-XX:SharedArchiveFile={archive}", "-Xshare:auto"] if archive.is_file() else []


@contextlib.contextmanager
def archiving(name: str, target: Path) -> Iterator[tuple[Path, Guard, list[str]]]:
    """Have a JVM write the classes that it loads as the archive ``target``: gives a folder for its files, a guard, and its flags.

    The block starts the server, uses it a little and ends it; its log is NAME*.log in that folder. The caller holds the lock. Raises
    ServerError where there is no archive then.
    """
    run_id = f"install-{name}-{uuid.uuid4().hex[:8]}"
    with tempfile.TemporaryDirectory(prefix=".archive-", dir=target.parent) as work, Guard(run_id) as guard:
        folder = Path(work)
        made = folder / "classes.jsa"
        yield folder, guard, [f"-XX:ArchiveClassesAtExit={made}"]
        if not made.is_file():
            raise failure(name, "wrote no class archive", next(iter(sorted(folder.glob(f"{name}*.log"))), None))
        made.rename(target)
