"""One live call, and what is kept of it."""
