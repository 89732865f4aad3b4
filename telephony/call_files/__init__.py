"""Calls as tests: `*.call.yaml` and what the fixture `phone_call` is given, read, called and checked."""
