"""A mode under a wrong name: Redis Streams without acknowledgement, which says that it acknowledges what has been processed.

While nothing breaks it does all that it promises. Only a consumer that dies with messages in hand shows what it is.
"""

from dataclasses import replace

from adapters.redis_streams import CAPABILITIES, RedisStreams
from bench.servers.redis_streams import RECIPE as RECIPE  # noqa: PLC0414  # registered with it

SYSTEM = "mislabels"
HONEST = CAPABILITIES.modes[0]
NOACK = next(mode for mode in CAPABILITIES.modes if mode.delivery is not HONEST.delivery)


class Mislabels(RedisStreams):
    """What it is called is not what it does."""

    def __init__(self, options):
        super().__init__(replace(options, mode=NOACK.name))
        self.mode = HONEST


def distribution(folder):
    """Makes ``folder`` an installed distribution that registers it, with its server; to be put on PYTHONPATH with tests/."""
    info = folder / "mislabelled_adapter-0.1.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: mislabelled-adapter\nVersion: 0.1\n")
    (info / "entry_points.txt").write_text(
        f"[brokerbench.adapters]\n{SYSTEM} = mislabelled_adapter:Mislabels\n[brokerbench.servers]\n{SYSTEM} = mislabelled_adapter:RECIPE\n"
    )
    return folder
