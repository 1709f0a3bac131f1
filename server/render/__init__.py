"""Renderers: one log of run events, several wire forms."""
