"""What a shell offers, after Tab, for NAME=VALUE: the entries of a recipe, and the values of those that have few."""

from __future__ import annotations

from types import NoneType
from typing import Any, Literal, get_args, get_origin

import click
from click.shell_completion import CompletionItem
from pydantic import BaseModel

from lcr_seg_ros.completion import complete_labels, complete_models
from lcr_seg_ros.networks import NETWORKS
from lcr_seg_ros.training.recipe import Recipe


def complete_entries(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """For click's ``shell_complete``."""
    before = tuple(ctx.params.get(param.name or "") or ())
    if "=" in incomplete:  # zsh and fish hand over the whole word
        name, _, value = incomplete.partition("=")
        return [CompletionItem(f"{name}={item.value}") for item in _values(ctx, param, name, value)]
    # Bash takes = for a word of its own, which click leaves out where it is the last.
    name = before[-2] if before[-1:] == ("=",) and len(before) > 1 else before[-1] if before else ""
    if name in entries_of(Recipe):
        return _values(ctx, param, name, incomplete)
    return [CompletionItem(f"{name}=") for name in entries_of(Recipe) if name.startswith(incomplete)]


def entries_of(section: type[BaseModel], above: str = "") -> dict[str, list[str]]:
    """The entries that can be set in a section of a recipe.

    Args:
        section: the section, or the whole recipe.
        above: its own dotted name, with a dot at the end.

    Returns:
        By dotted name, the values of those that have few; else an empty list.
    """
    found: dict[str, list[str]] = {}
    for name, field in section.model_fields.items():
        kinds = _kinds(field.annotation)
        sections = [kind for kind in kinds if isinstance(kind, type) and issubclass(kind, BaseModel)]
        if not sections:
            found[f"{above}{name}"] = [word for kind in kinds for word in _words(kind)]
        elif len(kinds) > 1:  # one that may be off
            found[f"{above}{name}"] = ["true", "false"]
        for inner in sections:
            found |= entries_of(inner, f"{above}{name}.")
    return found


def _values(ctx: click.Context, param: click.Parameter, name: str, incomplete: str) -> list[CompletionItem]:
    if name == "labels":
        return complete_labels(ctx, param, incomplete)
    if name.endswith(("finetune", "teacher.model")):
        return complete_models(ctx, param, incomplete)
    values = list(NETWORKS) if name == "network.name" else entries_of(Recipe).get(name, [])
    return [CompletionItem(value) for value in values if value.startswith(incomplete)]


def _kinds(annotation: Any) -> list[Any]:
    """The members of a union, or the type itself; literals stay whole."""
    members = [] if get_origin(annotation) in (None, Literal, dict, list, tuple) else list(get_args(annotation))
    return [kind for member in members for kind in _kinds(member)] or [annotation]


def _words(kind: Any) -> list[str]:
    if kind is bool:
        return ["true", "false"]
    if kind is NoneType:
        return ["null"]
    return [str(value) for value in get_args(kind)] if get_origin(kind) is Literal else []
