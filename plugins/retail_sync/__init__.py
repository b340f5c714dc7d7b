"""Airflow's side of Retail Sync: thin hooks and operators over the engine in ``include``."""
