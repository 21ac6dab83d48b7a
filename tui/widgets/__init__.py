"""Widgets, each of which draws one value; none knows a screen."""
