"""ONNX Runtime's options: setting them, and reading back what a session says of them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from conformance.adapters.runtime.port import Setting
from conformance.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Mapping

Option = str | int | float | bool
_OURS = frozenset({"optimized_model_filepath", "profile_file_prefix", "enable_profiling"})


def option_text(value: Option) -> str:
    """Return an option as the runtime takes it."""
    return str(int(value)) if isinstance(value, bool) else str(value)


def set_session_option(ort: Any, options: Any, key: str, value: Option) -> None:
    """Set one of SessionOptions, or a configuration entry where the key has a dot; UsageError for what it does not take."""
    if "." in key:
        try:
            options.add_session_config_entry(key, option_text(value))
        except Exception as error:  # noqa: BLE001 - the runtime has an exception type for every status
            raise UsageError(f"runtime.session_options.{key[:40]}: {error}") from None
        return
    if key in _OURS:
        raise UsageError(
            f"runtime.session_options.{key}: not a profile's to set: it names files or is the harness's own"
        )
    if key.startswith("_") or not hasattr(options, key) or callable(getattr(options, key)):
        known = ", ".join(
            sorted(n for n in dir(options) if not n.startswith("_") and not callable(getattr(options, n)))
        )
        raise UsageError(f"runtime.session_options: onnxruntime has no '{key}'; known are {known}, and keys with a dot")
    named = {"graph_optimization_level": ort.GraphOptimizationLevel, "execution_mode": ort.ExecutionMode}.get(key)
    if named is None:
        try:
            setattr(options, key, value)
        except (TypeError, ValueError, RuntimeError):
            kind = type(getattr(options, key)).__name__
            raise UsageError(f"runtime.session_options.{key}: '{value}' is no {kind}") from None
        return
    if str(value) not in named.__members__:
        raise UsageError(
            f"runtime.session_options.{key}: there is no '{value}'; known are {', '.join(named.__members__)}"
        )
    setattr(options, key, named.__members__[str(value)])


def read_session_options(session: Any, wanted: Mapping[str, Option]) -> list[Setting]:
    """Return session options beside what the session says of them; a runtime too old to say tells nothing."""
    read = getattr(session, "get_session_options", None)
    told = read() if read is not None else None
    return [Setting(f"session_options.{key}", _text(value), _told(told, key)) for key, value in wanted.items()]


def _told(told: Any, key: str) -> str | None:
    if told is None:
        return None
    if "." not in key:
        value = getattr(told, key)
        return getattr(value, "name", None) or _text(value)
    try:
        return str(told.get_session_config_entry(key))
    except Exception:  # noqa: BLE001 - that is how the runtime says that it has no such entry
        return ""


def read_provider_options(session: Any, provider: str, wanted: Mapping[str, Option]) -> list[Setting]:
    """Return provider options beside what the session says of them; many providers tell none of theirs."""
    told = session.get_provider_options().get(provider)
    return [
        Setting(f"options.{key}", _text(value), str(told.get(key, "")) if told else None)
        for key, value in wanted.items()
    ]


def _text(value: object) -> str:
    return option_text(value) if isinstance(value, str | int | float | bool) else str(value)
