"""What Twilio and this server say to each other: media-stream messages, TwiML, signatures.

Pure: no socket, no clock. The shells that use it are `telephony.stream` and `telephony.app`.
"""
