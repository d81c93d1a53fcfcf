"""Load on a server of tools/serve.py: clients of a process of their own, and what they measure."""
