"""The session core: what is said, asked, allowed and answered in one conversation. Pure; `machine` routes, leaves decide.

Nothing here awaits, reads a clock, draws a random number or holds a live object of the program: agents and tools appear
by name, all inputs and commands are frozen structs that can be written down and read back. So a call is the list of its
inputs, and replaying the list gives the same commands, byte for byte.
"""
