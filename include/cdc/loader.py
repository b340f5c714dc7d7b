"""Read ``replications.yaml`` and refuse what does not hold together."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml
from pydantic import ValidationError

from include.cdc.models import Replication
from include.errors import BadRequest, CatalogError

Replications = Mapping[str, Replication]


def load(file: Path) -> Replications:
    """
    Return the replications by name, in the order of the file.

    :raises CatalogError: with every problem, each naming file, replication and field.
    """
    content = _mapping(file, "", _yaml(file))
    if unknown := sorted(set(content) - {"defaults", "replications"}):
        raise CatalogError(f"{file.name}: {unknown[0]}: unknown; there are defaults and replications")
    defaults = _mapping(file, "defaults", content.get("defaults") or {})
    entries = _mapping(file, "replications", content.get("replications") or {})
    found: dict[str, Replication] = {}
    problems: list[str] = []
    for name, entry in entries.items():
        try:
            fields = {**defaults, **_mapping(file, f"{name}", entry), "name": name}
            found[name] = Replication.model_validate(fields)
        except CatalogError as error:
            problems.append(str(error))
        except ValidationError as error:
            problems += [f"{file.name}: {name}: {_described(problem)}" for problem in error.errors()]
    problems += _shared_targets(file, found)
    if problems:
        raise CatalogError("\n".join(problems))
    return found


def pick(replications: Replications, name: str) -> Replication:
    """
    Return a replication.

    :raises BadRequest: naming those that there are.
    """
    if name not in replications:
        known = ", ".join(replications) or "none is declared"
        raise BadRequest(f"replication {name!r} is not in replications.yaml; there are: {known}")
    return replications[name]


def _shared_targets(file: Path, found: Replications) -> list[str]:
    """Two replications of one schema would remove each other's tables."""
    owners: dict[str, str] = {}
    problems = []
    for name, replication in found.items():
        owner = owners.setdefault(replication.target_schema, name)
        if owner != name:
            problems.append(f"{file.name}: {name}: target_schema: {replication.target_schema} is that of {owner}")
    return problems


def _described(problem: Any) -> str:
    where = ".".join(str(part) for part in problem["loc"])
    text = str(problem["msg"]).removeprefix("Value error, ")
    return f"{where}: {text}" if where else text


def _mapping(file: Path, where: str, content: Any) -> dict[str, Any]:
    if not isinstance(content, dict) or not all(isinstance(key, str) for key in content):
        raise CatalogError(f"{file.name}: {where or 'the file'}: has to be a mapping of names")
    return content


def _yaml(file: Path) -> Any:
    try:
        return yaml.safe_load(file.read_text(encoding="utf-8")) or {}
    except FileNotFoundError:
        raise CatalogError(f"{file}: not there; set RETAIL_SYNC_CDC_FILE, or write it") from None
    except (OSError, UnicodeDecodeError) as error:
        raise CatalogError(f"{file}: cannot be read ({type(error).__name__})") from None
    except yaml.YAMLError as error:
        raise CatalogError(f"{file.name}: is no YAML: {error}") from None
