"""Recorded calls, run again: to prove that the bridge still does the same, and to try an agent on the callers of last week."""
