"""How numbers are written, the same in the terminal, in Markdown and on the page."""

from __future__ import annotations


def score(value: float) -> str:
    """A share with three decimals: 0.8127 -> "0.813"."""
    return f"{value:.3f}"


def seconds(value: float | None) -> str:
    """A duration for people: "0.42 s", "41 s", "3 min 05 s", "2 h 10 min"; "" for None."""
    if value is None:
        return ""
    if value < 9.95:
        return f"{value:.2f} s" if value < 0.995 else f"{value:.1f} s"
    whole = round(value)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02d} s"
    return f"{whole // 3600} h {whole % 3600 // 60:02d} min"


def microseconds(value: float | None) -> str:
    """A short duration for people: "0.8 µs", "41 µs", "1.2 ms", "3.4 s"; "" for None."""
    if value is None:
        return ""
    if value >= 999_950:
        return seconds(value / 1e6)
    if value >= 999.5:
        return f"{value / 1000:.1f} ms"
    return f"{value:.1f} µs" if value < 9.95 else f"{value:.0f} µs"


def loss(value: float) -> str:
    """A loss with three significant digits, without an exponent where that stays short: "0.0123", "1,230,000"."""
    if value != 0 and not 1e-4 <= abs(value) < 1e9:
        return f"{value:.2e}"
    digits = f"{value:.3g}" if abs(value) < 1000 else f"{value:,.0f}"
    return digits
