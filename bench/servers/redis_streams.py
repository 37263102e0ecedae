"""Redis Streams is served by the same servers as Redis Pub/Sub; a run that measures both starts one for each.

Unlike Pub/Sub it keeps messages, so its server can keep them on disk too: `redis_streams,appendfsync=always`. "off" (the default)
is without an append-only file; the others are Redis's own values, with one: "no" writes it and leaves the syncing to the kernel.
Source: https://redis.io/docs/latest/operate/oss_and_stack/management/persistence/
"""

from __future__ import annotations

from bench.servers.redis_pubsub import RedisRecipe

RECIPE = RedisRecipe("redis_streams", {"appendfsync": ("off", "no", "everysec", "always")})
