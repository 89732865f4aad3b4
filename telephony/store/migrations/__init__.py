"""How a database of an earlier version becomes one of this: Alembic's scripts, in `versions`.

A change of `schema.py` needs a script here, and `schema.HEAD` its name; a test compares the two.
"""
