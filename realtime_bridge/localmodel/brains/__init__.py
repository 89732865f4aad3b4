"""Brains of the offline model: what to say and do next, from a dialogue script (`script`), by rules (`agent`), or asked
of a language model (`chat`)."""
