"""What a person sees: progress while the run goes on, and the summary after it. Plain lines where it is piped."""

from __future__ import annotations

from conformance.reports.console.display import LiveConsole, PlainConsole, make_console
from conformance.reports.console.summary import render_summary

__all__ = ["LiveConsole", "PlainConsole", "make_console", "render_summary"]
