"""Which of RabbitMQ's nodes leads which queue: asked of the nodes by Erlang's own erl_call, as `rabbitmqctl list_queues leader` asks it.

rabbitmqctl would start an Erlang machine for each question (2 s of CPU); erl_call is a small program (10 ms). Of a classic queue, which has
one copy, it is the node where it lives.
"""

from __future__ import annotations

import re
import subprocess
from collections.abc import Mapping, Sequence
from typing import Any

TIMEOUT_S = 1.0  # of a node that is paused
NOBODY = ""
# A quorum queue's pid is {name, node}; that of a stream or a classic queue is a process. A node that nobody is connected to leads nothing.
EXPRESSION = """lists:map(fun(Name) ->
case rabbit_amqqueue:lookup(rabbit_misc:r(<<"/">>, queue, list_to_binary(Name))) of
{ok, Q} -> Node = case amqqueue:get_pid(Q) of {_, N} -> N; P -> node(P) end,
case lists:member(Node, [node() | nodes()]) of true -> Node; false -> none end;
_ -> none end end, [%s]).
"""


class Leaders:
    """Asks one node after another, beginning with the one that answered last. Used by one thread at a time or several.

    ``nodes``: Erlang's names (bench1@localhost) -> ours. ``command`` begins the command line of erl_call, ``environment`` has the cookie's
    HOME and epmd's port.
    """

    def __init__(self, nodes: Mapping[str, str], command: Sequence[str], environment: Mapping[str, str]) -> None:
        self._nodes = dict(nodes)
        self._command = command
        self._environment = dict(environment)
        self._last = 0

    def __call__(self, wiring: Mapping[str, Any]) -> dict[str, str]:
        """Node names by queue; NOBODY where its leader is gone and there is no other yet. Raises OSError where no node answers."""
        queues = wiring["streams"] if "streams" in wiring else [queue for group in wiring["groups"].values() for queue in group["queues"]]
        answer = self.ask(EXPRESSION % ", ".join(_quoted(queue) for queue in queues))
        found = re.fullmatch(r"\{ok, \[(.*)\]\}", answer, re.DOTALL)
        leaders = [one.strip(" \n'") for one in found.group(1).split(",")] if found else []
        if len(leaders) != len(queues):
            raise ValueError(f"a node answered {answer!r}, which does not say where {len(queues)} queues are")
        return {queue: self._nodes.get(leader, NOBODY) for queue, leader in zip(queues, leaders, strict=True)}

    def ask(self, expression: str) -> str:
        """What a node answers to an Erlang expression (with its full stop). Raises OSError where none does."""
        names, first, errors = list(self._nodes), self._last, []
        for turn in range(len(names)):
            at = (first + turn) % len(names)
            try:
                done = subprocess.run(
                    [*self._command, "-sname", names[at], "-e"],
                    check=False, capture_output=True, text=True, input=expression, env=self._environment, timeout=TIMEOUT_S,
                )  # fmt: skip
            except subprocess.TimeoutExpired:
                errors.append(f"{names[at]} did not answer within {TIMEOUT_S:g} s")
                continue
            if done.returncode == 0:
                self._last = at
                return done.stdout.strip()
            errors.append(f"{names[at]}: {done.stderr.strip() or done.stdout.strip()}")
        raise OSError("; ".join(errors))


def _quoted(text: str) -> str:
    """An Erlang string of a name's bytes."""
    return "[" + ",".join(map(str, text.encode())) + "]"
