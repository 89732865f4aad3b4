"""What Twilio and this server say to each other: media-stream messages, TwiML, webhooks, signatures, REST.

Pure, but for `rest`: no socket, no clock. The shells that use it are `telephony.stream` and `telephony.app`.
"""
