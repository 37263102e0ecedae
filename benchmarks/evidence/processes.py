"""Processes of this machine by their command lines: what a command has started, what of it is left. A run's mark is not looked at."""

from __future__ import annotations

import os
import time
from collections.abc import Iterable

import psutil

POLL_S = 0.02

Identity = tuple[int, float, str]
"""pid, time of birth, command line."""


def line_of(process: psutil.Process) -> str:
    """Its command line; empty where it has gone."""
    try:
        return " ".join(process.cmdline())
    except psutil.Error:
        return ""


def processes(*words: str) -> dict[int, str]:
    """Live processes whose command line has one of the words, by pid."""
    found = {}
    for process in psutil.process_iter(["status"]):
        line = line_of(process)
        if process.info["status"] != psutil.STATUS_ZOMBIE and process.pid != os.getpid() and any(word in line for word in words):
            found[process.pid] = line[:300]
    return found


def family(pid: int, *words: str) -> list[Identity]:
    """All that a process has started: its descendants, and what names ``words``; not itself."""
    found: dict[int, Identity] = {}
    try:
        ours = [*psutil.Process(pid).children(recursive=True), *(psutil.Process(one) for one in processes(*words))]
    except psutil.NoSuchProcess:
        return []
    for one in ours:
        try:
            if one.pid != pid and one.status() != psutil.STATUS_ZOMBIE:
                found[one.pid] = (one.pid, one.create_time(), line_of(one)[:400])
        except psutil.NoSuchProcess:
            continue
    return list(found.values())


def alive(identities: Iterable[Identity]) -> list[str]:
    """Those that still live, as "pid: command line"."""
    left = []
    for pid, born, line in identities:
        try:
            one = psutil.Process(pid)
            if one.create_time() == born and one.status() != psutil.STATUS_ZOMBIE:
                left.append(f"{pid}: {line}")
        except psutil.NoSuchProcess:
            continue
    return left


def gone(identities: Iterable[Identity], timeout_s: float) -> list[str]:
    """What of the processes still lives after ``timeout_s``."""
    identities = list(identities)
    deadline = time.monotonic() + timeout_s
    while (left := alive(identities)) and time.monotonic() < deadline:
        time.sleep(POLL_S)
    return left
