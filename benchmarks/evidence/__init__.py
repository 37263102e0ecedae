"""Long measurements that show whether the suite's figures and verdicts can be trusted: docs/method.md, "Evidence"."""
