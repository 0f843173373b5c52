"""Bends: interventions in a transformer's attention and feed-forward layers, as tensors that a hand can move.

Knows tensors and grid shapes only; any model that calls the hook points can be bent.
"""
