"""Plan, launch and verify Mistral-Medium-3.5-128B under vLLM."""
