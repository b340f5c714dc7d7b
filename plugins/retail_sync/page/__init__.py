"""The page ``Replication`` in Airflow's menu: a small web application that the API server mounts."""
