"""What a run holds open and shows: its session, engines, progress, log, Prefect server."""
