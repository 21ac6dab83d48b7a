"""News on their way from a worker to its screen, and what every screen that hears them shares."""

from __future__ import annotations

from collections.abc import Collection
from typing import TypeVar

from textual import on
from textual.message import Message
from textual.screen import Screen

from tui.news import News

Result = TypeVar("Result")


class Told(Message):
    """Carries news from a worker to its screen."""

    def __init__(self, news: News) -> None:
        self.news = news
        super().__init__()


class HearingScreen(Screen[Result]):
    """A screen whose workers tell it news, and that can say which keys it has."""

    def tell(self, news: News) -> None:
        """Let the screen hear news; safe in any thread."""
        self.post_message(Told(news))

    @on(Told)
    def _told(self, message: Told) -> None:
        self.hear(message.news)

    def hear(self, heard: News) -> None:
        """Take in one piece of news."""

    def keys_now(self, *, quiet: Collection[str] = ()) -> tuple[tuple[str, str], ...]:
        """The keys that work now and what they do: those of the footer, and of `quiet` actions."""
        keys = [
            (active.binding.key_display or self.app.get_key_display(active.binding), active.binding.description)
            for active in self.active_bindings.values()
            if active.enabled and (active.binding.show or active.binding.action in quiet)
        ]
        return tuple(dict.fromkeys(keys))

    def draw_below(self) -> None:
        """Draw this screen anew where a dialogue is over it, which shows it as it was drawn last."""
        self.call_after_refresh(lambda: self.app.screen.refresh())
