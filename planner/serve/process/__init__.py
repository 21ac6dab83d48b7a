"""A server that outlives its launcher: started, followed, found again, stopped."""
