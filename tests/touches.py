"""Touches of controllers, as mappings get them."""

from __future__ import annotations

from instrument.parameters.touch import Touch


def cc(key: int, value: int, channel: int = 1) -> Touch:
    return Touch("cc", key, value, channel)


def turned(*values: int, key: int, channel: int = 1) -> list[Touch]:
    """One controller, turned through these values."""
    return [cc(key, value, channel) for value in values]
