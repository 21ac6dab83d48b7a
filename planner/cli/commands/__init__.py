"""One module per command, each with a click object called ``command``."""
