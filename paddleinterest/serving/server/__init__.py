"""The server: HTTP in front, processes that score behind.

One process speaks HTTP and never computes. A loader opens the bundle and forks the scorers, which
share its tables and weights. A new bundle gets a loader and scorers of its own.
"""
