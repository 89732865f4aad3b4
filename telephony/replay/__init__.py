"""Recorded calls, run again from their tapes: does this program still answer as it did?"""
