"""moto's server as a process of its own: ``python -m bench.servers.moto_child HOST PORT``. Never a thread of the runner."""

from __future__ import annotations

import logging
import sys
from signal import SIG_BLOCK, SIGINT, SIGTERM, pthread_sigmask, sigwait

from moto.server import ThreadedMotoServer


def main() -> int:
    """Serve until SIGTERM or SIGINT."""
    host, port = sys.argv[1], int(sys.argv[2])
    pthread_sigmask(SIG_BLOCK, {SIGTERM, SIGINT})  # before the server's threads start: they inherit it
    logging.getLogger("werkzeug").setLevel(logging.ERROR)  # else a line for each request
    server = ThreadedMotoServer(ip_address=host, port=port, verbose=False)
    server.start()
    sigwait({SIGTERM, SIGINT})
    server.stop()
    return 0


if __name__ == "__main__":
    sys.exit(main())
