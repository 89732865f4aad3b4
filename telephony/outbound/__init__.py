"""Calls that we place: who may be called, what a machine that answers is told, and never the same call twice."""
