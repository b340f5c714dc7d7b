"""
The package as Airflow sees it: a provider that adds commands.

Airflow loads this module whenever ``airflow`` is imported, and an error here stops every
command, so it imports nothing.
"""

from __future__ import annotations

from typing import Any


def get_provider_info() -> dict[str, Any]:
    """
    Return the provider's description, in the shape of ``provider_info.schema.json``.

    ``package-name`` must be the name of the installed distribution: Airflow refuses to start
    where the two differ.
    """
    return {
        "package-name": "retail-sync",
        "name": "Retail Sync",
        "description": "Verified 1:1 replication of a point-of-sale database into a warehouse.",
        "cli": ["retail_sync.backfill_cli.get_cli_commands"],
    }
