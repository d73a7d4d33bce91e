"""The name of a run, which the same configuration, data and origin always get."""

import hashlib
import json
from collections.abc import Mapping, Sequence
from typing import Any


def run_id_of(config_sha256: str, dataset_sha256: str, origin: Mapping[str, Any] | None = None) -> str:
    """Return a run's name.

    Args:
        config_sha256: digest of its configuration's scientific fields.
        dataset_sha256: digest of its data.
        origin: where the beginning of its record comes from; None where the run began by itself.

    """
    more = json.dumps(dict(origin), sort_keys=True) if origin else ""
    return hashlib.sha256((config_sha256 + dataset_sha256 + more).encode()).hexdigest()[:12]


def origin_cycle(events: Sequence[Mapping[str, Any]]) -> int:
    """Return the first cycle that a run did itself: 0, or where it was forked.

    Args:
        events: its log.

    """
    origin = events[0].get("origin") if events else None
    return int(origin["cycle"]) if isinstance(origin, dict) else 0
