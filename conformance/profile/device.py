"""The device profile: who the device is, through which runtime it is reached, and what its vendor declares."""

import re
import unicodedata
from collections.abc import Iterator
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Field

from conformance.profile.declares import Declarations
from conformance.profile.model import Deadlines, FormatVersion, Many, Name, Option, Slug, Strict, refuse, tighten
from conformance.profile.tree import KeyPath
from conformance.profile.wording import Message

Hardware = Literal["cpu", "gpu", "npu", "fpga", "other"]


_MODULE = re.compile(r"[^\W\d]\w*(\.[^\W\d]\w*)*")


def _module(value: str) -> str:
    if not _MODULE.fullmatch(value):
        refuse("the name of a Python module is wanted here, as it stands in an import: acme_backend or acme.backend")
    return value


ModuleName = Annotated[Name, AfterValidator(_module)]


class Binding(Strict):
    """Ties the profile to one unit; whatever is given must match what the runtime or the host reports."""

    uuid: Name | None = Field(default=None, json_schema_extra=tighten("free"))
    pci_address: Name | None = Field(default=None, json_schema_extra=tighten("free"))
    """As `0000:65:00.0`."""
    metadata: dict[Name, Name] | None = Field(default=None, json_schema_extra=tighten("free"))
    """Device metadata of the runtime that must be equal."""

    def sense(self) -> Iterator[tuple[KeyPath, Message]]:
        """Exactly one way to name the unit."""
        given = [name for name in ("uuid", "pci_address", "metadata") if getattr(self, name)]
        if not given:
            yield (), "binding names no unit: give uuid, pci_address or metadata"
        elif len(given) > 1:
            yield (given[1],), f"binding names the unit twice, by {' and by '.join(given)}: keep one"


class Device(Strict):
    """The identity of the device under test."""

    vendor: Name = Field(json_schema_extra=tighten("equal"))
    model: Name = Field(json_schema_extra=tighten("free"))
    category: Name = Field(json_schema_extra=tighten("equal"))
    """Name of a shipped category, or the path of a category file that extends one."""
    subtype: Slug | None = Field(default=None, json_schema_extra=tighten("free"))
    """One of the category's subtypes."""
    adjacent_type: Slug | None = Field(default=None, json_schema_extra=tighten("equal"))
    """For a product beside the named types: one of the category's adjacent types; makes `eligibility: adjacent`."""
    firmware: Name | None = Field(default=None, json_schema_extra=tighten("free"))
    driver: Name | None = Field(default=None, json_schema_extra=tighten("free"))
    hardware: Hardware | None = Field(default=None, json_schema_extra=tighten("equal"))
    binding: Binding | None = Field(default=None, json_schema_extra=tighten("free"))
    documents: Many[Name] = Field(default=(), json_schema_extra=tighten("superset"))
    """Documents that support the eligibility of an adjacent type: URLs, or paths relative to this file."""

    @property
    def key(self) -> str:
        """`vendor/model` in ASCII, for class names and folders: other characters become their code points."""
        return f"{ascii_key(self.vendor)}/{ascii_key(self.model)}"


def ascii_key(name: str) -> str:
    """Return a name in letters, digits, `.`, `_` and `-`; accents are dropped, other scripts become `uXXXX`."""
    parts: list[str] = []
    for character in unicodedata.normalize("NFKD", name.strip()):
        if character.isascii() and (character.isalnum() or character in "._-"):
            parts.append(character)
        elif unicodedata.combining(character):
            continue
        elif character.isascii() or character.isspace():
            parts.append("-")
        else:
            parts.append(f"u{ord(character):04x}")
    return "".join(parts).strip("-") or "unnamed"


class Publish(Strict):
    """How a model reaches an inference server."""

    by: Literal["folder", "inline"] = Field(json_schema_extra=tighten("free"))
    """`folder`: into the server's model repository, which the bench file names; `inline`: inside the request to load it."""
    model: Name | None = Field(default=None, json_schema_extra=tighten("free"))
    """Where the ONNX model lies in the folder of a model; left out, `1/model.onnx`."""
    files: dict[Name, Name] | None = Field(default=None, json_schema_extra=tighten("free"))
    """Further files: path in the folder of a model, and path below the folder of this file."""
    config: dict[Name, Any] | None = Field(default=None, json_schema_extra=tighten("free"))
    """For `inline`: the model's configuration, as the server's load request takes it."""


class Runtime(Strict):
    """How the device is reached. Which keys and options an adapter takes is the adapter's to say."""

    adapter: Slug = Field(json_schema_extra=tighten("equal"))
    """Such as `onnxruntime` or `onnx-backend`."""
    provider: Name | None = Field(default=None, json_schema_extra=tighten("equal"))
    """The execution provider that must run the models."""
    library: Name | None = Field(default=None, json_schema_extra=tighten("free"))
    """Path of a plugin library, relative to this file."""
    module: ModuleName | None = Field(default=None, json_schema_extra=tighten("equal"))
    """A Python module: a plugin package with `get_library_path()`, or a module with the ONNX Backend API."""
    device: Name | None = Field(default=None, json_schema_extra=tighten("free"))
    """The device string that the runtime takes."""
    options: dict[Name, Option] | None = Field(default=None, json_schema_extra=tighten("free"))
    session_options: dict[Name, Option] | None = Field(default=None, json_schema_extra=tighten("free"))
    cache_option: Name | None = Field(default=None, json_schema_extra=tighten("free"))
    """The provider option that names a folder for compiled models; of the commonest providers it is known."""
    encoding: Literal["rest-json", "rest-binary", "grpc"] | None = Field(
        default=None, json_schema_extra=tighten("free")
    )
    """How an inference server is spoken to; no other encoding is tried."""
    publish: Publish | None = Field(default=None, json_schema_extra=tighten("free"))
    """How a model reaches an inference server."""
    deadlines: Deadlines | None = Field(default=None, json_schema_extra=tighten("lower"))

    def as_options(self) -> dict[str, Any]:
        """Return what was given, as the plain mapping that an adapter validates by its own typed options."""
        return self.model_dump(exclude_none=True)


class DeviceProfile(Strict):
    """One device profile, after inheritance."""

    conformance: FormatVersion = Field(json_schema_extra=tighten("equal"))
    """Version of this format."""
    extends: Name | None = Field(default=None, json_schema_extra=tighten("free"))
    """A profile that this one tightens: a path inside this folder, or `builtin:NAME`."""
    device: Device
    runtime: Runtime
    declares: Declarations
