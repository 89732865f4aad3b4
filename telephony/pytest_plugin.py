"""The pytest plugin: collects `*.call.yaml`, and gives tests a caller (`phone_call`) and recorded ones (`replay_tape`).

Every pytest run of whoever has this package installed loads this module, also where nothing has to do with phones: so it
imports nothing but pytest. What runs calls is imported when the first call is run.
"""

from __future__ import annotations
