"""Programs of another Debian than this machine's: packages of its suite, unpacked in a folder of ours and not installed.

The machine's own apt fetches them, from the machine's mirror and checked by its keys, with a state of its own. They run in a mount
namespace in which the folder lies over /usr, and nothing else differs: data, settings and logs have the paths that they have outside,
and as nothing forks on the way, the pid that was started is the server's. Root can make such a namespace, and who may make user
namespaces; a container mostly forbids both.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from bench.errors import ServerError
from bench.servers.home import building, home, locked

USR = Path("/usr")
KEYS = USR / "share" / "keyrings" / "debian-archive-keyring.gpg"
TIMEOUT_S = 600.0
PROBE_TIMEOUT_S = 10.0
OF_EVERY_DEBIAN = ("dash", "coreutils", "sed", "grep")
"""What scripts need and no package names."""
UNNEEDED = ("adduser", "debconf", "dpkg", "init-system-helpers", "openssl", "passwd", "perl-base", "procps", "python3", "socat", "tzdata")
"""What only an installation, or a tool beside the server, needs. Apt is told that they are there: 37 packages for RabbitMQ, not 88."""


@dataclass(frozen=True)
class Suite:
    """Packages of one suite of Debian for one system, under BROKERBENCH_HOME."""

    system: str
    name: str  # "trixie"
    packages: tuple[str, ...]

    @property
    def usr(self) -> Path:
        """What lies over /usr; it is whole where it is there."""
        return home() / f"{self.system}-{self.name}" / "usr"

    def missing(self) -> str | None:
        """Why it cannot run here; None = it can."""
        return impossible() or (None if self.usr.is_dir() else f"Debian {self.name}'s packages for {self.system} are not in {home()}")

    def refuse(self, folder: Path) -> None:
        """Raise ServerError where the programs would not see a folder with data."""
        if folder.is_relative_to(USR):
            raise ServerError(f"{self.system}: {folder} is in {USR}, of which Debian {self.name} sees its own: run it elsewhere")

    def command(self, words: Sequence[str | Path]) -> list[str]:
        """What runs ``words`` with the suite's programs; the process that is started becomes them."""
        return [*_namespace(), "sh", "-c", 'mount --bind "$0" /usr && exec "$@"', str(self.usr), *map(str, words)]

    def install(self) -> None:
        """Fetch and unpack, once (RabbitMQ: 59 MB fetched, 117 MB kept). Raises ServerError where that cannot be done here."""
        reason = impossible()
        if reason is not None:
            raise ServerError(f"{self.system}: {reason}")
        with locked(self.system):
            if not self.usr.is_dir():
                with building(self.usr.parent) as folder, tempfile.TemporaryDirectory() as work:
                    for package in self._fetch(Path(work)):
                        _run(self.system, ["dpkg-deb", "-x", package, folder])

    def _fetch(self, work: Path) -> list[Path]:
        """The packages and all that they depend on, as files."""
        for part in ("state/lists/partial", "cache/archives/partial"):
            (work / part).mkdir(parents=True)
        architecture = _run(self.system, ["dpkg", "--print-architecture"]).strip()
        (work / "state" / "status").write_text("".join(_as_installed(one, architecture) for one in UNNEEDED), encoding="ascii")
        (work / "sources.list").write_text(self._sources(), encoding="utf-8")
        settings = {
            "Dir::State": work / "state",
            "Dir::State::status": work / "state" / "status",
            "Dir::Cache": work / "cache",
            "Dir::Etc::sourcelist": work / "sources.list",
            "Dir::Etc::sourceparts": "-",
            "APT::Sandbox::User": "",  # else root's apt hands its downloads to an account that cannot write here
            "Acquire::Languages": "none",
            "Acquire::IndexTargets::deb::DEP-11::DefaultEnabled": "false",
        }
        apt = ["apt-get", "-q", "-y", *(f"-o{name}={value}" for name, value in settings.items())]
        _run(self.system, [*apt, "--error-on=any", "update"])
        _run(self.system, [*apt, "--no-install-recommends", "--download-only", "install", *self.packages, *OF_EVERY_DEBIAN])
        return sorted((work / "cache" / "archives").glob("*.deb"))

    def _sources(self) -> str:
        """The suite at the mirror that the machine itself uses."""
        told = _run(self.system, ["apt-get", "update", "--print-uris"])
        found = re.search(r"^'(\S+)/dists/[^/']+/InRelease'", told, re.MULTILINE)
        if found is None:
            raise ServerError(f"{self.system}: apt-get names no mirror on this machine, which would have Debian {self.name}")
        signed = f"[signed-by={KEYS}] " if KEYS.is_file() else ""
        return f"deb {signed}{found.group(1)} {self.name} main\n"


def impossible() -> str | None:
    """Why this machine can run no other suite's programs, whatever is fetched; None = it can."""
    for program in ("apt-get", "dpkg-deb", "unshare", "mount"):
        if shutil.which(program) is None:
            return f"no {program} on the path: another Debian's packages are fetched by apt and run by unshare"
    if Path("/lib").resolve() != USR / "lib":
        return "this machine has programs outside of /usr"
    try:
        done = subprocess.run(
            [*_namespace(), "mount", "--bind", home(), USR], check=False, capture_output=True, text=True, timeout=PROBE_TIMEOUT_S
        )
    except subprocess.TimeoutExpired:
        return f"a mount namespace was not made within {PROBE_TIMEOUT_S:g} s"
    return None if done.returncode == 0 else f"no mount namespace can be made here: {done.stderr.strip()}"


def _namespace() -> list[str]:
    return ["unshare", "--mount"] if os.geteuid() == 0 else ["unshare", "--map-root-user", "--mount"]


def _as_installed(package: str, architecture: str) -> str:
    """A paragraph of dpkg's status file; "allowed" satisfies whoever wants the package of any architecture (python3:any)."""
    return (
        f"Package: {package}\nStatus: install ok installed\nVersion: 99:0\nArchitecture: {architecture}\nMulti-Arch: allowed\n"
        "Maintainer: none\nDescription: none\n\n"
    )


def _run(system: str, words: Sequence[str | Path]) -> str:
    """A command's output; ServerError with its last lines where it fails."""
    try:
        done = subprocess.run(
            list(map(str, words)), check=False, capture_output=True, text=True, stdin=subprocess.DEVNULL, timeout=TIMEOUT_S
        )
    except subprocess.TimeoutExpired as error:
        raise ServerError(f"{system}: {words[0]} took longer than {TIMEOUT_S:g} s") from error
    if done.returncode != 0:
        lines = "\n".join(f"  {line}" for line in (done.stdout + done.stderr).splitlines()[-15:])
        raise ServerError(f"{system}: {words[0]} failed (exit code {done.returncode}):\n{lines}")
    return done.stdout
