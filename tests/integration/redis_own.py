"""A redis-server of one test's own, for what breaks it."""

import shutil
import subprocess
import time

import pytest
import redis

from adapters.ports import free_ports


class Own:
    """A redis-server of this test's own, which it may stop, kill and start again on the same port."""

    def __init__(self, folder):
        self.port = free_ports(1)[0]
        self.address = f"127.0.0.1:{self.port}"
        self.folder = folder
        self.process = None
        self.start()

    def start(self):
        words = ["--bind", "127.0.0.1", "--port", str(self.port), "--save", "", "--appendonly", "no", "--dir", str(self.folder)]
        self.process = subprocess.Popen(["redis-server", *words], stdout=subprocess.DEVNULL, start_new_session=True)
        self.admin = redis.Redis(port=self.port)
        end = time.monotonic() + 20
        while not self._answers():
            assert time.monotonic() < end, "redis-server does not come up"
            time.sleep(0.02)

    def _answers(self):
        try:
            return self.admin.ping()
        except redis.ConnectionError:
            return False

    def kill(self):
        self.admin.close()
        self.process.kill()
        self.process.wait()


def started(folder, servers, system):
    """Start one; skips, or fails where it must not, without a redis-server."""
    servers(system)
    if shutil.which("redis-server") is None:
        pytest.skip("these tests stop and kill a server of their own: they need redis-server on the PATH")
    return Own(folder)
