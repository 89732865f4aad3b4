"""Recorded callers, out of tapes or WAV files, who call an agent: is it still as good as on the tape, or as expected?"""
