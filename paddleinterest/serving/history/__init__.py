"""Histories at hand: a request that names a user and no history gets the user's events from here.

The bundle's own file has the events of the prepared dataset, read-only. A store, SQLite or Redis,
takes the events that arrive since.
"""
