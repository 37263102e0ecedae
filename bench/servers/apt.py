"""Debian packages, installed without starting what they bring: a service of its own would share the cores and take ports."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from bench.errors import ServerError

POLICY = Path("/usr/sbin/policy-rc.d")
POLICY_TEXT = "#!/bin/sh\n# brokerbench: no service starts while its package is being installed\nexit 101\n"
TIMEOUT_S = 1200.0


@contextmanager
def no_services() -> Iterator[None]:
    """Keep package scripts from starting services (invoke-rc.d asks policy-rc.d; 101 = forbidden); an existing policy stays."""
    if POLICY.exists():
        if POLICY.read_text(encoding="utf-8", errors="replace") == POLICY_TEXT:
            POLICY.unlink()  # of an install that was killed
        else:
            yield  # the administrator's own: theirs to decide
            return
    POLICY.write_text(POLICY_TEXT, encoding="utf-8")
    POLICY.chmod(0o755)
    try:
        yield
    finally:
        POLICY.unlink(missing_ok=True)


def install_packages(system: str, packages: Sequence[str]) -> None:
    """apt-get install, as root. Raises ServerError that says what to do by hand where that cannot be done here."""
    by_hand = f"apt-get install {' '.join(packages)}"
    apt = shutil.which("apt-get")
    if apt is None:
        raise ServerError(f"{system}: no apt-get on this machine; install {' '.join(packages)} by its own package manager")
    if os.geteuid() != 0:
        raise ServerError(f"{system}: not root; get it by: sudo {by_hand}")
    env = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    with no_services():
        for words in (["update"], ["install", "-y", "--no-install-recommends", *packages]):
            try:
                done = subprocess.run(
                    [apt, "-q", "-o", "DPkg::Lock::Timeout=300", *words],
                    check=False,
                    capture_output=True,
                    text=True,
                    env=env,
                    timeout=TIMEOUT_S,
                )
            except subprocess.TimeoutExpired as error:
                raise ServerError(f"{system}: apt-get {words[0]} took longer than {TIMEOUT_S:g} s; by hand: {by_hand}") from error
            if done.returncode != 0 and words[0] == "install":  # an update that fails half-way is often good enough
                lines = "\n".join(f"  {line}" for line in (done.stdout + done.stderr).splitlines()[-15:])
                raise ServerError(f"{system}: {by_hand} failed (exit code {done.returncode}):\n{lines}")
