"""Floating-point formats, streamed comparison and the statistics of errors: what knows neither models nor devices."""
