"""Mappings that ship with the instrument: one YAML file for each controller or OSC client."""
