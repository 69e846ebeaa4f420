"""Names of nodes in few words: cn[0001-0512], as Slurm writes them."""

from __future__ import annotations

import re
from collections.abc import Iterable


def folded(names: Iterable[str]) -> str:
    """The names, of which those that differ in their last number alone are one word."""
    groups: dict[tuple[str, int, str], list[int]] = {}
    plain: list[str] = []
    for name in names:
        found = re.fullmatch(r"(.*?)(\d{1,9})(\D*)", name, re.ASCII | re.DOTALL)
        if found:
            before, number, after = found.groups()
            groups.setdefault((before, _width(number), after), []).append(int(number))
        else:
            plain.append(name)
    words = [_word(*key, sorted(set(numbers))) for key, numbers in groups.items()]
    return ",".join(sorted([*plain, *words]))


def _width(number: str) -> int:
    """Digits of one that is padded; numbers without padding go together whatever their length."""
    return len(number) if number.startswith("0") and len(number) > 1 else 0


def _word(before: str, width: int, after: str, numbers: list[int]) -> str:
    if len(numbers) == 1:
        return f"{before}{numbers[0]:0{width}}{after}"
    parts, start = [], numbers[0]
    for last, following in zip(numbers, [*numbers[1:], None]):
        if following != last + 1:
            parts.append(f"{start:0{width}}" if start == last else f"{start:0{width}}-{last:0{width}}")
            start = following
    return f"{before}[{','.join(parts)}]{after}"
