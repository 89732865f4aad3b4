"""YAML for files that hold what people say: dialogue scripts, tests of calls."""

from __future__ import annotations

import re

import yaml


class PlainLoader(yaml.SafeLoader):  # type: ignore[misc,unused-ignore]  # yaml ships no types
    """The safe loader, with YAML 1.2's plain words: `yes` and `no` are what callers say, `10:30` is a time of day."""


PlainLoader.yaml_implicit_resolvers = {}
for _tag, _pattern, _first in (
    ("bool", r"true|True|TRUE|false|False|FALSE", "tTfF"),
    ("null", r"~|null|Null|NULL|", "~nN\0"),
    ("int", r"[-+]?[0-9]+", "-+0123456789"),
    ("float", r"[-+]?(?:\.[0-9]+|[0-9]+\.[0-9]*)(?:[eE][-+]?[0-9]+)?", "-+.0123456789"),
    ("merge", r"<<", "<"),
):
    PlainLoader.add_implicit_resolver(
        f"tag:yaml.org,2002:{_tag}", re.compile(rf"^(?:{_pattern})$"), ["", *_first] if _tag == "null" else list(_first)
    )
