"""The base of all other parts: errors, whole files, settings, log, metrics, processes."""
