"""The five views of the Verify step: each draws a `Serving` and has keys of its own."""
