"""Debezium in a process of ours: no Kafka."""
