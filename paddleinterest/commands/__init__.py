"""One module per command, `paddleinterest VERB` or tools/VERB.py: its flags and one call."""
