"""The gate: is head as good as base? Both in one run, in turn; docs/gate.md says how it decides.

`bench.gate.run.run` is what the command, a test or a pipeline calls: it returns a `bench.gate.result.Result`, whose ``to_json`` is
gate.json. What decides is pure: asked (metrics, margins), schedule, budget, figures, decision.
"""
