"""brokerbench: identical workloads through broker-based and broker-less messaging systems, audited."""

__version__ = "0.1.0"
