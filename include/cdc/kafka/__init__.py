"""Kafka Connect mode: Debezium runs in Connect, its topics are read here."""
