"""An offline server that speaks the Realtime and Responses APIs with real speech recognition and synthesis."""
