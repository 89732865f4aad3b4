"""One module per step, from the empty database on."""
