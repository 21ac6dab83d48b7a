"""Screens: one per step and a few dialogues; each takes plain values and returns a plain value."""
