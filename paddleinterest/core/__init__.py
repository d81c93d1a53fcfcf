"""What every part stands on: errors, files written whole, settings, log, metrics, processes."""
