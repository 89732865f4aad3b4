"""What Twilio asks of this server over HTTP: how to answer a call, what follows it, how calls fare."""
