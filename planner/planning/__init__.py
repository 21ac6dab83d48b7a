"""Which settings, which layout, and why: from a request to a plan. It prints nothing."""
