"""What the suite's own TCP proxy costs: ``python -m benchmarks.proxy_cost [--rounds N] [--json FILE]``. Run it on a quiet machine.

Messages of 100 B go from one process to another over one connection on the loopback at a fixed rate, each with its time of sending
(one host, one monotonic clock); directly, through the proxy, and through the proxy with latency 1 ms asked for. The ways take
turns, and the median over rounds is printed: one-way latency, and the proxy's CPU a message; "bulk" is 256 MB as fast as they go.
Plain sockets without the harness, so that the difference is the proxy's alone.
"""

from __future__ import annotations

import argparse
import json
import socket
import struct
import subprocess
import sys
import tempfile
import uuid
from collections.abc import Sequence
from pathlib import Path
from statistics import median

import numpy as np

from bench.clock import now_ns, sharpen_sleep, sleep_until
from bench.faults.proxy import Proxies, Toxic
from bench.guard import Guard

SIZE_B = 100
RATES = (1_000, 10_000)
SECONDS = 2.0
WARM = 0.25  # of the messages: left out
BULK_B = 256 << 20
ASKED_S = 0.001
WAYS = ("direct", "proxy", "proxy + 1 ms")
_STAMP = struct.Struct("<q")


def send(address: str, rate: int, seconds: float) -> None:
    """Send at a rate, each message at its time; rate 0: as many bytes as there are, at once. The sender's process."""
    sharpen_sleep()
    host, _, port = address.rpartition(":")
    with socket.create_connection((host, int(port))) as sock:
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if not rate:
            chunk = bytes(65536)
            for _ in range(BULK_B // len(chunk)):
                sock.sendall(chunk)
        else:
            start = now_ns()
            for i in range(int(rate * seconds)):
                sleep_until(start + i * 1_000_000_000 // rate)
                sock.sendall(_STAMP.pack(now_ns()).ljust(SIZE_B, b"\0"))


def receive(listener: socket.socket) -> tuple[list[int], int]:
    """One-way latencies in ns, message by message, and how many bytes came."""
    sock = listener.accept()[0]
    found: list[int] = []
    rest, total = b"", 0
    while data := sock.recv(65536):
        now = now_ns()
        total += len(data)
        if total > BULK_B // 8:
            continue  # at once: its bytes are no messages
        rest += data
        whole = len(rest) // SIZE_B * SIZE_B
        found += [now - _STAMP.unpack_from(rest, at)[0] for at in range(0, whole, SIZE_B)]
        rest = rest[whole:]
    sock.close()
    return found, total


def one(way: str, rate: int, proxies: Proxies) -> dict[str, float]:
    """One round of one way: p50_us, p99_us, cpu_us a message; for rate 0: mb_per_s, cpu_us_per_mb."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        address, link = f"127.0.0.1:{listener.getsockname()[1]}", uuid.uuid4().hex
        if way != "direct":
            address = proxies.open(link, 0, address)
        if way == WAYS[2]:
            proxies.add(link, Toxic("latency", "up", {"latency": ASKED_S}))
        before, started = proxies.stats()["cpu_ns"], now_ns()
        sender = subprocess.Popen([sys.executable, "-m", "benchmarks.proxy_cost", "--send", address, str(rate)])
        found, total = receive(listener)
        took_s = (now_ns() - started) / 1e9
        sender.wait()
        cpu_us = (proxies.stats()["cpu_ns"] - before) / 1e3
    if not rate:
        return {"mb_per_s": total / 1e6 / took_s, "cpu_us_per_mb": cpu_us / (total / 1e6)}
    kept = np.array(found[int(len(found) * WARM) :]) / 1e3
    return {"p50_us": float(np.percentile(kept, 50)), "p99_us": float(np.percentile(kept, 99)), "cpu_us": cpu_us / len(found)}


def measure(rounds: int) -> dict[str, dict[str, dict[str, float]]]:
    """Medians over rounds by rate and way."""
    every: dict[tuple[int, str], list[dict[str, float]]] = {}
    with (
        tempfile.TemporaryDirectory() as folder,
        Guard(f"proxy-cost-{uuid.uuid4().hex[:8]}") as guard,
        Proxies(guard, Path(folder)) as proxies,
    ):
        for number in range(rounds):
            for rate in (*RATES, 0):
                for way in WAYS[number % 3 :] + WAYS[: number % 3]:
                    every.setdefault((rate, way), []).append(one(way, rate, proxies))
                    print(".", end="", flush=True, file=sys.stderr)
    print(file=sys.stderr)
    return {
        f"{rate:,}/s" if rate else "bulk": {
            way: {name: median(row[name] for row in every[rate, way]) for name in every[rate, way][0]} for way in WAYS
        }
        for rate in (*RATES, 0)
    }


def main(words: Sequence[str] | None = None) -> int:
    """Measure and print."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.proxy_cost", description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--json", type=Path)
    parser.add_argument("--send", nargs=2, metavar=("ADDRESS", "RATE"), help=argparse.SUPPRESS)
    asked = parser.parse_args(words)
    if asked.send:
        send(asked.send[0], int(asked.send[1]), SECONDS)
        return 0
    found = measure(asked.rounds)
    print("| load | way | p50, us | p99, us | proxy's CPU |")
    print("|---|---|---|---|---|")
    for load, ways in found.items():
        for way, row in ways.items():
            cpu = (
                "-"
                if way == "direct"
                else f"{row['cpu_us']:.1f} us a message"
                if "cpu_us" in row
                else f"{row['cpu_us_per_mb']:.0f} us a MB"
            )
            shown = f"{row['p50_us']:.0f} | {row['p99_us']:.0f}" if "p50_us" in row else f"{row['mb_per_s']:,.0f} MB/s | "
            print(f"| {load} | {way} | {shown} | {'-' if way == 'direct' else cpu} |")
    if asked.json:
        asked.json.write_text(json.dumps({"rounds": asked.rounds, "size_b": SIZE_B, "seconds": SECONDS, "loads": found}, indent=1) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
