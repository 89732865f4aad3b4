"""The steering of one live call: hang-up, transfer, keys, hold, silence, length, voicemail. Pure machines and one shell."""
