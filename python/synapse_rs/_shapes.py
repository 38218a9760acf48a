"""How events of a class give up their fields. The native module asks once per class, and goes the shortest way then.

`model_dump()` copies every attribute as its field's serializer says. Where all serializers only copy, the attributes
themselves will do, at a third of the cost. What can say otherwise is looked for in the model's core schema, from which
pydantic builds the serializers; whatever is not known to copy counts as something that does not.
"""

import dataclasses
import sys
from typing import Any

_BASIC = frozenset({"any", "none", "bool", "int", "float", "decimal", "str", "bytes", "literal", "is-instance"})
_COPIED = _BASIC | {"date", "time", "datetime", "timedelta", "enum", "uuid"}
"""Schemas whose values are given as they are."""

_MADE_OF = {
    "nullable": ("schema",),
    "default": ("schema",),
    "function-before": ("schema",),
    "function-after": ("schema",),
    "function-wrap": ("schema",),
    "list": ("items_schema",),
    "tuple": ("items_schema",),
    "dict": ("keys_schema", "values_schema"),
    "union": ("choices",),
}
"""Where a schema's own schemas are: one, a list of them, or of pairs of one and its label."""


def shape(cls: Any) -> tuple[str, tuple[str, ...]]:
    """How to get at the fields of an object of this class.

    `dict`: its `__dict__` holds just these, in this order; `extended`: `__pydantic_extra__` may hold others besides;
    `attributes`: it has these; `dump`: `model_dump()` tells; `other`: neither a model nor a dataclass.
    """
    if issubclass(cls, type):
        return "other", ()
    if hasattr(cls, "model_dump"):
        fields = _fields_of_model(cls)
        if fields is None:
            return "dump", ()
        return "extended" if cls.model_config.get("extra") == "allow" else "dict", fields
    if dataclasses.is_dataclass(cls):
        names = tuple(field.name for field in dataclasses.fields(cls))
        return "dict" if _is_in_dict(cls, names) else "attributes", names
    return "other", ()


def _is_in_dict(cls: Any, names: tuple[str, ...]) -> bool:
    """Whether nothing of the class (a slot, a property) comes before what is in an object's `__dict__`."""
    if any("__getattribute__" in vars(base) for base in cls.__mro__ if base is not object):
        return False
    members = (vars(base).get(name) for base in cls.__mro__ for name in names)
    return not any(hasattr(type(member), "__set__") for member in members)


def _fields_of_model(cls: Any) -> tuple[str, ...] | None:
    """The fields of a model whose attributes are what `model_dump()` would give; none if it has to be asked."""
    base = getattr(sys.modules.get("pydantic"), "BaseModel", None)
    if base is None or not issubclass(cls, base) or cls.model_dump is not base.model_dump:
        return None
    try:
        return _copied_fields(cls.__pydantic_core_schema__) if cls.__pydantic_complete__ else None
    except (AttributeError, KeyError, TypeError):
        # Not as pydantic has had it so far.
        return None


def _copied_fields(schema: Any) -> tuple[str, ...] | None:
    definitions: dict[str, Any] = {}
    while schema["type"] != "model":
        # Around the model may be what its schema refers to, and its validators.
        if schema["type"] == "definitions":
            definitions = {definition["ref"]: definition for definition in schema["definitions"]}
        elif not schema["type"].startswith("function-") or _is_special(schema):
            return None
        schema = schema["schema"]
    fields = schema["schema"]
    if _is_special(schema) or schema.get("root_model") or schema.get("config", {}).get("serialize_by_alias"):
        return None
    if fields["type"] != "model-fields" or fields.get("computed_fields") or fields.get("extras_schema"):
        return None
    if all(not _is_special(f) and _is_copied(f["schema"], definitions, ()) for f in fields["fields"].values()):
        return tuple(fields["fields"])
    return None


def _is_special(schema: dict[str, Any]) -> bool:
    """Whether it says how it is to be serialized; a field's alias is asked for by those who dump by alias only."""
    return any(
        value and key.startswith("serialization") and key != "serialization_alias" for key, value in schema.items()
    )


def _is_copied(schema: Any, definitions: dict[str, Any], within: tuple[str, ...]) -> bool:
    kind = schema["type"]
    if _is_special(schema):
        return False
    if kind == "definition-ref":
        ref = schema["schema_ref"]
        return ref in within or _is_copied(definitions[ref], definitions, (*within, ref))
    if kind in _COPIED:
        return True
    if kind not in _MADE_OF:
        return False
    for key in _MADE_OF[kind]:
        inner = schema.get(key, [])
        for one in inner if isinstance(inner, list) else [inner]:
            if not _is_copied(one[0] if isinstance(one, tuple) else one, definitions, within):
                return False
    return True
