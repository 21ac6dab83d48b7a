"""From the bytes of a start-up log to events, figures and causes. Pure: it starts nothing and opens no socket."""
