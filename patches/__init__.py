"""Patches that ship: states to play, as YAML."""
