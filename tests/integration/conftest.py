"""Fixtures of the tests that run adapters by hand."""

import pytest


@pytest.fixture
def opened():
    """Makes adapters' parts and closes them."""
    parts = []

    def keep(part):
        parts.append(part)
        return part

    yield keep
    for part in parts:
        part.close()
