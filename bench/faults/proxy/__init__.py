"""The suite's own TCP proxy: a child process that forwards connections and does to them what Toxiproxy's toxics do."""

from bench.faults.proxy.proxies import PROXY, Proxies
from bench.faults.proxy.toxics import Toxic

__all__ = ["PROXY", "Proxies", "Toxic"]
