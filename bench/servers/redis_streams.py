"""Redis Streams is served by the same servers as Redis Pub/Sub; a run that measures both starts one for each."""

from __future__ import annotations

from bench.servers.redis_pubsub import RedisRecipe

RECIPE = RedisRecipe("redis_streams")
