"""The trainer and what hooks into it: checkpoints, resume, schedules, bad numbers."""
