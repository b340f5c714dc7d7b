"""
Stands in for a worker of Kafka Connect: real Debezium with a connector's configuration, over a Kafka broker.

``python -m tests.integration.connect_worker BROKERS MARKER`` reads the configuration as JSON from its input and
writes topics until it has written the marker.
"""

from __future__ import annotations

import json
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from confluent_kafka import Producer

from include.cdc.changes import Marker
from include.cdc.embedded.engine import Engine, Event, start_java
from include.cdc.events import parse


def main() -> None:
    brokers, marker = sys.argv[1:]
    config: dict[str, str] = json.load(sys.stdin)
    producer = Producer({"bootstrap.servers": brokers, "log_level": 0})

    def write(events: list[Event], _: Callable[[int], dict[str, Any]]) -> int:
        for event in events:
            item = parse(event.key, event.value, event.other_key)
            if isinstance(item, Marker):
                if item.content == marker:
                    engine.stop()
                continue
            source = json.loads(event.value or "{}")["source"]
            topic = f"{config['topic.prefix']}.{source['schema']}.{source['table']}"
            headers = {"__debezium.newkey": json.dumps(event.other_key)} if event.other_key else {}
            producer.produce(topic, key=event.key, value=event.value, headers=headers)
        assert producer.flush(30) == 0
        return len(events)

    with tempfile.TemporaryDirectory() as folder:
        start_java(Path(folder), 192)
        storage = "org.apache.kafka.connect.storage.FileOffsetBackingStore"
        offsets = {"offset.storage": storage, "offset.storage.file.filename": f"{folder}/offsets"}
        engine = Engine({**config, **offsets, "offset.flush.interval.ms": "0"}, write)
        engine.run()


if __name__ == "__main__":
    main()
