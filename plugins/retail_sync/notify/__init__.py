"""Messages about runs, by mail and to a chat; nothing where nothing happened."""

from __future__ import annotations

from retail_sync.notify.runs import RunNotifier

__all__ = ["RunNotifier"]
