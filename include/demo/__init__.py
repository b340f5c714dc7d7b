"""The embedded default: servers, a source shaped like the real one, Airflow, and what they show."""
