"""One file describes a rig: ``hw_configs/*.yaml`` to frozen, checked models.

Unknown keys are refused, and every error of a file is told at once, each with
file, line, key and what is allowed there.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    SerializeAsAny,
    ValidationError,
)

from camera_rig._located_yaml import Loc, Located, read_located
from camera_rig.bench import Bench
from camera_rig.contracts import CameraMode, CameraSettings, DeviceKind, DriverOptions
from camera_rig.errors import ConfigError, RigError
from camera_rig.registry import driver_class, known_drivers, world_class

__all__ = [
    "ROLES",
    "CalibrationConfig",
    "CameraConfig",
    "DeviceConfig",
    "MirrorConfig",
    "RigConfig",
    "StorageConfig",
    "coefficient_file",
    "embedded_configs",
    "json_schema",
    "load_config",
]

M = TypeVar("M", bound=BaseModel)

ROLES: dict[str, DeviceKind] = {
    "privacy": DeviceKind.CAMERA,
    "side": DeviceKind.CAMERA,
    "mirror": DeviceKind.MIRROR,
    "stage": DeviceKind.STAGE,
    "light": DeviceKind.LIGHT,
}
"""The five places of a rig and the kind of device that stands there."""


class _Model(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", populate_by_name=True)


def _home(value: Any) -> Any:
    return Path(value).expanduser() if isinstance(value, str) else value


HomePath = Annotated[Path, BeforeValidator(_home)]


class DeviceConfig(_Model):
    """One device: its driver, whether the rig may open without it, its options.

    In the file the driver's options stand beside ``driver``, without a level between.
    """

    driver: str
    required: bool = True
    options: SerializeAsAny[DriverOptions] = DriverOptions()


class CameraSettingsConfig(_Model):
    """Settings given to a camera once, after opening (units as in the names)."""

    exposure_s: Annotated[float, Field(gt=0)] | None = None
    iso: Annotated[int, Field(gt=0)] | None = None
    gain: Annotated[float, Field(gt=0)] | None = None
    aperture: Annotated[float, Field(gt=0)] | None = None
    size: tuple[int, int] | None = None
    mode: CameraMode = CameraMode.LIVE
    linear: bool = False

    def to_settings(self) -> CameraSettings:
        """Return the same values as the contract's type."""
        return CameraSettings(**self.model_dump())


class CameraConfig(DeviceConfig):
    """A camera, with the settings it gets after opening (none: left as it is)."""

    settings: CameraSettingsConfig | None = None


class MirrorConfig(DeviceConfig):
    """A mirror and what it must look like while a person is in front of the cameras.

    Args:
        max_temperature_c: Above it the mirror takes no more commands, °C.
        shape: The learned shape that hides faces: a coefficient file, or the name of
            one that ships. Nothing is recorded or shown of a person without it.
    """

    max_temperature_c: float | None = 60.0
    shape: str | None = None


class StorageConfig(_Model):
    """Where takes and run logs go.

    Args:
        root: Folder of takes, catalogue, run logs; relative to the working folder.
        keys: Folder with the lab's public key and the subjects' key store.
        min_free_gb: Refuse to record with less free space than this, GB.
        fsync_s: Longest time between two fsyncs while recording, s.
    """

    root: HomePath = Path("rig-data")
    keys: HomePath = Path("rig-data/keys")
    min_free_gb: Annotated[float, Field(ge=0)] = 2.0
    fsync_s: Annotated[float, Field(gt=0)] = 1.0


class CalibrationConfig(_Model):
    """Where calibrations are kept, and after how many hours they count as stale."""

    root: HomePath = Path("rig-data/calibration")
    max_age_h: Annotated[float, Field(gt=0)] = 24.0 * 7


class RigConfig(_Model):
    """A whole rig: bench, devices by role, storage, calibration, and twin if any."""

    schema_version: Literal[1] = Field(alias="schema")
    name: Annotated[str, Field(min_length=1, pattern=r"^[A-Za-z0-9._-]+$")]
    bench: Bench = Bench()
    devices: dict[str, SerializeAsAny[DeviceConfig]]
    storage: StorageConfig = StorageConfig()
    calibration: CalibrationConfig = CalibrationConfig()
    twin: SerializeAsAny[BaseModel] | None = None
    source: Path | None = Field(default=None, exclude=True)

    @property
    def simulated(self) -> bool:
        """Whether every device belongs to the digital twin."""
        return all(device.driver == "twin" for device in self.devices.values())


def embedded_configs() -> dict[str, Path]:
    """Return the configurations that ship with the toolkit, by name."""
    return {path.stem: path for path in sorted(_shipped().glob("*.yaml"))}


def coefficient_file(source: str | Path) -> Path:
    """Return the file of a coefficient set: a path, or the name of one that ships.

    Raises:
        ConfigError: There is neither; lists what ships.
    """
    path = Path(source).expanduser()
    if path.exists():
        return path
    shipped = {one.stem: one for one in sorted((_shipped() / "coefficients").glob("*.yaml"))}
    if str(source) in shipped:
        return shipped[str(source)]
    near = difflib.get_close_matches(str(source), shipped, n=1)
    raise ConfigError(
        f"there is no coefficient file {source}" + (f"; did you mean {near[0]!r}?" if near else ""),
        hint=f"give a file, or one of: {', '.join(shipped)}",
    )


def _shipped() -> Path:
    here = Path(__file__).resolve().parent
    inside = here / "hw_configs"  # where a wheel carries them; else beside the source
    return inside if inside.is_dir() else here.parent / "hw_configs"


def load_config(source: str | Path) -> RigConfig:
    """Read a configuration from a path, or by the name of one that ships.

    Raises:
        ConfigError: Lists every fault of the file with line, key and what is allowed.
        ConnectError: A driver needs a package that is not installed.
    """
    path = Path(source).expanduser()
    if not path.suffix and not path.exists():
        embedded = embedded_configs()
        if path.name not in embedded:
            near = difflib.get_close_matches(path.name, embedded, n=1)
            raise ConfigError(
                f"there is no configuration named {path.name!r}"
                + (f"; did you mean {near[0]!r}?" if near else ""),
                hint=f"give a file, or one of: {', '.join(embedded)}",
            )
        path = embedded[path.name]
    return _Checker(read_located(path)).config()


def json_schema() -> dict[str, Any]:
    """Return a JSON schema of the file for editors, built-in drivers' options included."""
    schema = RigConfig.model_json_schema(by_alias=True)
    defs = schema.setdefault("$defs", {})
    devices: dict[str, Any] = {}
    for role, kind in ROLES.items():
        variants = []
        for driver in known_drivers(kind):
            try:
                options = driver_class(kind, driver).Options
            except RigError:
                continue  # a driver whose package is absent cannot be described here
            part = _entry_model(kind).model_json_schema(by_alias=True)
            options_part = options.model_json_schema(by_alias=True)
            defs.update(part.pop("$defs", {}))
            defs.update(options_part.pop("$defs", {}))
            properties = {**part["properties"], **options_part["properties"]}
            properties.pop("options", None)
            properties["driver"] = {"const": driver}
            variants.append(
                {
                    "type": "object",
                    "title": f"{role}: {driver}",
                    "properties": properties,
                    "required": ["driver", *options_part.get("required", [])],
                    "additionalProperties": False,
                }
            )
        devices[role] = {"anyOf": variants}
    schema["properties"]["devices"] = {
        "type": "object",
        "properties": devices,
        "additionalProperties": False,
    }
    world_options = world_class().Options.model_json_schema(by_alias=True)
    defs.update(world_options.pop("$defs", {}))
    schema["properties"]["twin"] = world_options
    schema["properties"].pop("source", None)
    return schema


def _entry_model(kind: DeviceKind) -> type[DeviceConfig]:
    models: dict[DeviceKind, type[DeviceConfig]] = {
        DeviceKind.CAMERA: CameraConfig,
        DeviceKind.MIRROR: MirrorConfig,
    }
    return models.get(kind, DeviceConfig)


class _Checker:
    """Turns a located file into a config, gathering every fault on the way."""

    def __init__(self, file: Located) -> None:
        self.file = file
        self.faults: list[tuple[int, str]] = []

    def config(self) -> RigConfig:
        data = self.file.data
        if not isinstance(data, Mapping):
            raise ConfigError(
                f"{self.file.path}:1: expected keys such as 'devices:', "
                f"found {type(data).__name__}",
                hint="start from a copy: `rig config show simulated`",
            )
        data = dict(data)
        devices = data.pop("devices", None)
        twin = data.pop("twin", None)
        entries = self._devices(devices)
        world = self._twin(twin, entries)
        config = self._model(RigConfig, {**data, "devices": {}}, ())
        if self.faults or config is None:
            raise self._error()
        return config.model_copy(
            update={"devices": entries, "twin": world, "source": self.file.path}
        )

    def _devices(self, devices: Any) -> dict[str, DeviceConfig]:
        loc: Loc = ("devices",)
        if not isinstance(devices, Mapping) or not devices:
            self._fault(loc, f"must list at least one of {', '.join(ROLES)}")
            return {}
        entries = {}
        for role, entry in devices.items():
            if role not in ROLES:
                self._unknown((*loc, str(role)), list(ROLES))
            elif not isinstance(entry, Mapping) or not isinstance(entry.get("driver"), str):
                known = ", ".join(known_drivers(ROLES[role]))
                self._fault((*loc, role), f"needs 'driver:', one of {known}")
            else:
                made = self._device(ROLES[role], (*loc, role), dict(entry))
                if made is not None:
                    entries[role] = made
        return entries

    def _device(self, kind: DeviceKind, loc: Loc, entry: dict[str, Any]) -> DeviceConfig | None:
        try:
            options_model = driver_class(kind, entry["driver"]).Options
        except ConfigError as error:
            self._fault((*loc, "driver"), f"{error.message} ({error.hint})")
            return None
        model = _entry_model(kind)
        own = {name for name in model.model_fields if name != "options"}
        policy = {key: value for key, value in entry.items() if key in own}
        rest = {key: value for key, value in entry.items() if key not in own}
        options = self._model(options_model, rest, loc, also_allowed=own)
        made = self._model(model, policy, loc)
        if made is None or options is None:
            return None
        return made.model_copy(update={"options": options})

    def _twin(self, twin: Any, entries: Mapping[str, DeviceConfig]) -> BaseModel | None:
        if twin is None and not any(entry.driver == "twin" for entry in entries.values()):
            return None
        if twin is not None and not isinstance(twin, Mapping):
            self._fault(("twin",), "expected the settings of the simulated world")
            return None
        found: BaseModel | None = self._model(world_class().Options, dict(twin or {}), ("twin",))
        return found

    def _model(
        self, model: type[M], data: dict[str, Any], loc: Loc, also_allowed: set[str] | None = None
    ) -> M | None:
        try:
            return model.model_validate(data)
        except ValidationError as error:
            for fault in error.errors():
                where = (*loc, *(part for part in fault["loc"] if part != "[key]"))
                if fault["type"] == "extra_forbidden":
                    allowed = sorted({*_keys_at(model, fault["loc"][:-1]), *(also_allowed or ())})
                    self._unknown(where, allowed)
                else:
                    given = "" if fault["type"] == "missing" else f" (given: {fault['input']!r})"
                    self._fault(where, f"{fault['msg']}{given}")
            return None

    def _unknown(self, loc: Loc, allowed: list[str]) -> None:
        near = difflib.get_close_matches(str(loc[-1]), allowed, n=1)
        guess = f"; did you mean {near[0]!r}?" if near else ""
        self._fault(loc, f"unknown key{guess or '.'} Allowed here: {', '.join(allowed)}")

    def _fault(self, loc: Loc, message: str) -> None:
        key = ".".join(map(str, loc)) or "file"
        self.faults.append((self.file.line(loc), f"{key}: {message}"))

    def _error(self) -> ConfigError:
        faults = sorted(set(self.faults))
        lines = [f"{self.file.path}:{line}: {text}" for line, text in faults]
        return ConfigError(
            "\n".join(lines), hint="mend the line(s) above; `rig config check FILE` tries again"
        )


def _keys_at(model: type[BaseModel], loc: tuple[str | int, ...]) -> Iterator[str]:
    """Yield the keys that are allowed at ``loc`` inside ``model``."""
    schema = model.model_json_schema(by_alias=True)
    here: Any = schema
    for part in (*loc, None):
        while "$ref" in here:
            here = schema["$defs"][here["$ref"].rsplit("/", 1)[1]]
        if "anyOf" in here:
            named = [option for option in here["anyOf"] if "$ref" in option]
            here = schema["$defs"][named[0]["$ref"].rsplit("/", 1)[1]] if named else {}
        if part is None:
            break
        here = here.get("properties", {}).get(part) or here.get("items") or {}
    yield from here.get("properties", {})
