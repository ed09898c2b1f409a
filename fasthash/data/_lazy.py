"""Sequences that make their values when they are asked for."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator, Sequence
from typing import Any, Generic, TypeVar, overload

T = TypeVar("T")


class Lazy(Sequence[T], Generic[T]):
    """Values of rows, each made when it is looked at; a slice makes those of its rows. A class says how in `_at`."""

    @abstractmethod
    def _at(self, row: int) -> T:
        """The value of a row from 0 to n - 1."""

    def _some(self, rows: range) -> Sequence[T]:
        """The values of rows that lie from 0 to n - 1."""
        return tuple(map(self._at, rows))

    def __iter__(self) -> Iterator[T]:
        return map(self._at, range(len(self)))

    @overload
    def __getitem__(self, i: int) -> T: ...
    @overload
    def __getitem__(self, i: slice) -> Sequence[T]: ...
    def __getitem__(self, i: Any) -> Any:
        try:
            found = range(len(self))[i]
        except IndexError:
            raise IndexError(f"row must be from 0 to {len(self) - 1}, got {i}") from None
        return self._some(found) if isinstance(found, range) else self._at(found)
