"""KubeRay's own schemas, made strict: a field that they don't know is refused, as Kubernetes would prune it unseen."""

from functools import cache
from pathlib import Path
from typing import Any, Final

import yaml
from jsonschema import Draft202012Validator

FOLDER: Final = Path(__file__).resolve().parents[3] / "shared" / "kuberay-crds"
_OPEN: Final = "x-kubernetes-preserve-unknown-fields"
_EITHER: Final = "x-kubernetes-int-or-string"
_LISTS: Final = ("allOf", "anyOf", "oneOf")


@cache
def validator(kind: str) -> Draft202012Validator:
    """Return what a resource of a kind has to keep to."""
    text = (FOLDER / f"ray.io_{kind.lower()}s.yaml").read_text()
    definition = yaml.load(text, getattr(yaml, "CSafeLoader", yaml.SafeLoader))
    (schema,) = (each["schema"]["openAPIV3Schema"] for each in definition["spec"]["versions"] if each["name"] == "v1")
    properties = schema["properties"]
    properties["metadata"] = {"type": "object"}  # of Kubernetes itself
    properties.pop("status", None)
    return Draft202012Validator(strict(schema))


def strict(schema: dict[str, Any]) -> dict[str, Any]:
    """Return a structural schema (Kubernetes' word) that refuses what it doesn't name."""
    made = dict(schema)
    if made.get(_EITHER):
        made.pop("type", None)
        return made
    for name in _LISTS:
        if name in made:
            made[name] = list(made[name])  # what stands in them only bounds what properties name
    if "properties" in made:
        made["properties"] = {name: strict(each) for name, each in made["properties"].items()}
        if not made.get(_OPEN):
            made.setdefault("additionalProperties", False)
    if isinstance(made.get("additionalProperties"), dict):
        made["additionalProperties"] = strict(made["additionalProperties"])
    if "items" in made:
        made["items"] = strict(made["items"])
    return made
