"""One module a command, `paddleinterest VERB` or tools/VERB.py: its flags and its work."""
