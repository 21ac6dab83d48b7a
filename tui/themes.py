"""The two palettes: one accent, the rest shades of the foreground; it never names a widget."""

from __future__ import annotations

from textual.theme import Theme

DARK = Theme(
    name="m35-dark",
    primary="#f0883e",
    secondary="#8b949e",
    accent="#f0883e",
    foreground="#d8dee6",
    background="#11151a",
    surface="#171c22",
    panel="#20262e",
    success="#5fb878",
    warning="#e3b341",
    error="#f47067",
    dark=True,
    variables={
        "footer-key-foreground": "#f0883e",
        "footer-background": "#171c22",
        "input-selection-background": "#f0883e 35%",
        "block-cursor-text-style": "bold",
        "border": "#3a424d",
    },
)

LIGHT = Theme(
    name="m35-light",
    primary="#b35900",
    secondary="#57606a",
    accent="#b35900",
    foreground="#1f2328",
    background="#fbfaf8",
    surface="#f3f1ed",
    panel="#e8e5df",
    success="#1a7f37",
    warning="#8a6100",
    error="#b3261e",
    dark=False,
    variables={
        "footer-key-foreground": "#b35900",
        "footer-background": "#f3f1ed",
        "input-selection-background": "#b35900 25%",
        "block-cursor-text-style": "bold",
        "border": "#c9c4ba",
    },
)


def theme_for(colorfgbg: str) -> str:
    """Return the palette for a terminal that says ``COLORFGBG=foreground;background``; dark when it says nothing.

    >>> theme_for("0;15"), theme_for("15;0"), theme_for("")
    ('m35-light', 'm35-dark', 'm35-dark')
    """
    background = colorfgbg.rpartition(";")[2]
    light = background in ("7", "15")
    return LIGHT.name if light else DARK.name
