"""What the adapters of Amazon's services through boto3 share: where a service is, its client, its errors, its events, its requests.

A server's address is "aws" (the service itself: region and credentials as boto3 finds them), host:port or a URL. What is not
Amazon's own host is an emulator: it checks no credentials, and the user's own must not go there.
"""

from __future__ import annotations

import contextlib
import threading
from collections import Counter
from collections.abc import Iterator, Mapping
from typing import Any
from urllib.parse import urlsplit

import boto3
import botocore
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError, NoCredentialsError, NoRegionError, PartialCredentialsError

from adapters.base import Event, Wiring
from adapters.errors import BadSetting, Refused, Unreachable
from adapters.options import Value

# botocore's own names. No retries: the default of four may write a batch twice and hides the first outcome; time-outs of 5 s to
# connect and 10 s to read (60), so that a lost call is known within a trial.
CALLS: dict[str, Value] = {
    "connect_timeout": 5.0,
    "read_timeout": 10.0,
    "total_max_attempts": 1,
    "retry_mode": "standard",
    "region_name": "",
}
CALLS_BOUNDS: dict[str, tuple[float, float]] = {
    "connect_timeout": (0.1, 3600),
    "read_timeout": (0.1, 3600),
    "total_max_attempts": (1, 20),
}
THROTTLED = "ProvisionedThroughputExceededException"  # Kinesis': it did nothing
SHOWN = ("connect_timeout", "read_timeout", "total_max_attempts", "retry_mode")


def check_calls(system: str, settings: Mapping[str, Any]) -> None:
    """Raise BadSetting for a retry mode that botocore does not know."""
    if settings["retry_mode"] not in ("legacy", "standard", "adaptive"):
        raise BadSetting(f"{system}: retry_mode = {settings['retry_mode']!r} is not one of legacy, standard, adaptive")


def endpoint(wiring: Wiring) -> str:
    """The URL of the wiring's first server."""
    text = str(wiring["servers"][0])
    return text if "://" in text else f"http://{text}"


def emulated(wiring: Wiring) -> bool:
    """Whether the wiring's first server is another than Amazon's own."""
    if wiring["servers"][0] == "aws":
        return False
    host = urlsplit(endpoint(wiring)).hostname or ""
    return not host.endswith((".amazonaws.com", ".amazonaws.com.cn", ".api.aws"))


def client_of(
    service: str, wiring: Wiring, settings: Mapping[str, Any], *, threads: int, unsigned: bool = False, read_s: float = 0.0
) -> Any:
    """A client of ``service`` ("sqs") that ``threads`` share; ``read_s``: the least that a call may take to be answered."""
    config = Config(
        connect_timeout=settings["connect_timeout"],
        read_timeout=max(settings["read_timeout"], read_s),
        retries={"total_max_attempts": settings["total_max_attempts"], "mode": settings["retry_mode"]},
        max_pool_connections=threads,
        signature_version=botocore.UNSIGNED if unsigned else None,
    )
    more: dict[str, Any] = {"region_name": settings["region_name"]} if settings["region_name"] else {}
    if emulated(wiring):
        # Emulators check no credentials, but a signature needs some; the user's own must not go there.
        more = {"region_name": "us-east-1", "aws_access_key_id": "emulator", "aws_secret_access_key": "emulator", **more}
    if wiring["servers"][0] != "aws":
        more["endpoint_url"] = endpoint(wiring)
    # A session of its own: boto3's default one is shared by the process and not safe to make clients with in threads.
    make: Any = boto3.session.Session().client  # its stubs know only services by literal
    return make(service, config=config, **more)


def code(error: ClientError) -> str:
    """The service's own name of an error."""
    return str(error.response.get("Error", {}).get("Code", ""))


def only_try(answer: Mapping[str, Any]) -> bool:
    """Whether an answer, of an error too, is that of a call's first try: else one before it may have been carried out, unanswered."""
    return not answer.get("ResponseMetadata", {}).get("RetryAttempts")


def is_refusal(error: ClientError) -> bool:
    """Whether the service says that it did nothing (4xx), at the only try; else nobody knows."""
    answer: Mapping[str, Any] = error.response
    return 400 <= int(answer.get("ResponseMetadata", {}).get("HTTPStatusCode", 500)) < 500 and only_try(answer)


@contextlib.contextmanager
def translated(name: str, wiring: Wiring) -> Iterator[None]:
    """The one place where botocore's errors become ours; ``name``: the service, as people write it."""
    where, system = wiring["servers"][0], name.lower()
    try:
        yield
    except (NoCredentialsError, PartialCredentialsError, NoRegionError) as error:
        raise BadSetting(f"{system}: {error} Set AWS_REGION and credentials as boto3 documents, or name an emulator's host:port") from error
    except ClientError as error:
        raise Refused(f"{name} at {where} refused: {error}") from error
    except (BotoCoreError, OSError) as error:
        raise Unreachable(f"no {name} answers at {where}: {error}") from error
    except ValueError as error:  # botocore's word for an endpoint that is no URL
        raise BadSetting(f"{system}: server address {where!r}: {error}") from error


class Events:
    """Events of several threads: equal ones are counted, for a dead server would give one a call.

    Nobody keeps a connection here, so what the events call "closed" is the first call that nobody answered, "reconnected" the first
    that somebody did.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._away = False
        self._found: Counter[tuple[str, str]] = Counter()

    def add(self, kind: str, detail: str = "", count: int = 1) -> None:
        """Note an event."""
        with self._lock:
            self._found[kind, detail] += count

    def lost(self, why: str) -> None:
        """Nobody answered a call."""
        with self._lock:
            if not self._away:
                self._away = True
                self._found["closed", why] += 1

    def reached(self) -> None:
        """Somebody answered a call."""
        if self._away:
            with self._lock:
                self._away = False
                self._found["reconnected", ""] += 1

    def take(self) -> list[Event]:
        """What happened since the last call."""
        with self._lock:
            found, self._found = self._found, Counter()
        return [Event(kind, detail if n == 1 else f"{detail} ({n} times)") for (kind, detail), n in found.items()]


class Requests:
    """Counts the requests that a client sends, each try of one, by action: what AWS bills, or limits."""

    def __init__(self, client: Any) -> None:
        self._lock = threading.Lock()
        self._counts: Counter[str] = Counter()
        client.meta.events.register("before-send", self._count)

    def _count(self, event_name: str, **_: Any) -> None:
        with self._lock:
            self._counts[event_name.rpartition(".")[2]] += 1

    def take(self) -> dict[str, int]:
        """Requests by action ("SendMessageBatch") since the last call."""
        with self._lock:
            counts, self._counts = self._counts, Counter()
        return dict(counts)
