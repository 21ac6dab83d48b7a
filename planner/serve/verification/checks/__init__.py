"""The named checks of a running server, one module per subject; they look and report, and change nothing."""
