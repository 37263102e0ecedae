"""RabbitMQ Streams: RabbitMQ with its stream plug-in, whose listener is the one that it has."""

from collections.abc import Callable, Mapping
from types import MappingProxyType

from bench.servers.probe import stream_properties
from bench.servers.rabbitmq import RabbitMQRecipe


class StreamsRecipe(RabbitMQRecipe):
    """As RabbitMQ's."""

    system = "rabbitmq_streams"
    ask: Callable[[str, int], dict[str, str]] = staticmethod(stream_properties)
    listener = "stream.listeners.tcp.1"
    conf: Mapping[str, str] = MappingProxyType({"listeners.tcp": "none"})
    plugins = ("rabbitmq_stream",)


RECIPE = StreamsRecipe()
