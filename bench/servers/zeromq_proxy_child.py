"""A zmq.proxy as a process of its own: ``python -m bench.servers.zeromq_proxy_child FRONT BACK``, ports on the loopback.

Publishers connect to FRONT (an XSUB), subscribers to BACK (an XPUB). It runs inside libzmq and ends by SIGTERM's default
action: it has nothing to put away. Source: zmq_proxy(3), its "Forwarder" example.
"""

from __future__ import annotations

import sys

import zmq

from adapters.ports import LOOPBACK


def main() -> None:
    """Pass messages on, and subscriptions back, until killed."""
    context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
    front, back = context.socket(zmq.XSUB), context.socket(zmq.XPUB)
    front.bind(f"tcp://{LOOPBACK}:{sys.argv[1]}")
    back.bind(f"tcp://{LOOPBACK}:{sys.argv[2]}")
    zmq.proxy(front, back)


if __name__ == "__main__":
    main()
