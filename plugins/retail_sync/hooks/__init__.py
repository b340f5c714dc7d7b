"""From Airflow connections to the engines."""
