"""What the harness itself costs: each variant against a bare loop of the same client (docs/method.md, "The harness's own cost")."""
