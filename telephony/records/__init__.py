"""What is written down of one call while it goes on: tape, recording, call.json, and the picture of it."""
