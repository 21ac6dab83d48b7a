"""News on their way from a worker to its screen."""

from __future__ import annotations

from textual.message import Message

from tui.news import News


class Told(Message):
    """Carries news from a worker to its screen."""

    def __init__(self, news: News) -> None:
        self.news = news
        super().__init__()
