"""One text for one configuration, and its hash: what decides whether something was computed already."""

import hashlib
import json
from collections.abc import Mapping
from typing import Any


def canonical_json(value: Any) -> str:
    """JSON text of `value` that doesn't depend on the order of keys or on white space.

    Tuples are written as lists. 1 and 1.0 are different values.

    Raises:
        ValueError: the value holds NaN or an infinity, which JSON can't write.
        TypeError: the value holds something else than text, numbers, booleans, None, lists and mappings with
            text keys (JSON would quietly turn the key 1 into "1", so that two configurations become one).
    """
    _refuse_other_keys(value)
    return json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False)


def digest(value: Any) -> str:
    """SHA-256 (64 hexadecimal digits) of the canonical JSON of `value`; raises as `canonical_json`."""
    return hashlib.sha256(canonical_json(value).encode()).hexdigest()


def _refuse_other_keys(value: Any) -> None:
    if isinstance(value, Mapping):
        for key, item in value.items():
            if not isinstance(key, str):
                raise TypeError(f"a configuration's keys must be text, not {key!r}")
            _refuse_other_keys(item)
    elif isinstance(value, list | tuple):
        for item in value:
            _refuse_other_keys(item)
