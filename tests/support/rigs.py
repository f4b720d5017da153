"""Small rig files for tests."""

from pathlib import Path

TOY = "tests.support.toy_drivers"


def toy_rig(folder: Path, **overrides: str) -> Path:
    """Write a rig of toy devices; ``overrides`` maps a role to extra YAML for its line."""
    devices = {
        "privacy": "ToyCamera",
        "side": "ToyCamera",
        "mirror": "ToyMirror",
        "stage": "ToyStage",
        "light": "ToyLight",
    }
    lines = ["schema: 1", "name: toy", f"storage: {{root: {folder}/data, keys: {folder}/keys}}"]
    lines.append("devices:")
    for role, name in devices.items():
        extra = overrides.get(role, "")
        lines.append(f"  {role}: {{driver: '{TOY}:{name}', serial: {role}-{folder.name}{extra}}}")
    path = folder / "toy.yaml"
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path
