"""The wizard: draws what the planner says and computes nothing."""
