"""Images that are called large: converted in bands, whatever memory there is."""

from types import SimpleNamespace

from jobs import LEASE_ALONE

LARGE = {**LEASE_ALONE, "LARGE_PIXELS": "1000000"}


def call_large_where(request, monkeypatch, memory) -> None:
    """Where a parameter of the test is `memory`, the option that means bands."""
    if memory in getattr(request.node, "callspec", SimpleNamespace(params={})).params.values():
        for name, value in LARGE.items():
            monkeypatch.setenv(name, value)
