"""How fast a plan would be: a step-time model, a scheduler on top of it, and figures with bounds.

Nothing here chooses a setting.
"""
