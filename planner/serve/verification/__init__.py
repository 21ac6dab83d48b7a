"""Named checks of a running server through its own HTTP interface."""
