"""The engine of Retail Sync. It knows no Airflow: everything here also runs from the command line."""
