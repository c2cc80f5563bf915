"""What a user leaves out of data in memory: it is neither read nor refused."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from sbmae_jax._check import did_you_mean
from sbmae_jax.data.names import as_name
from sbmae_jax.data.user.checks import as_strings


class LeftOut:
    """What is left out of data.

    Attributes:
        names: The names that the user gave.
        known: The names that the data have, as far as they are known.
    """

    def __init__(self, names: Sequence[str]):
        self.names = frozenset(map(as_name, as_strings("leave_out", names)))
        self.known: dict[str, None] = {}

    def without(self, names: Iterable[Any]) -> list[Any]:
        """Return the names that are not left out. What is left out takes its mask with it."""
        texts = {name: as_name(str(name)) for name in names}
        self.known |= dict.fromkeys(texts.values())
        masks = {f"{name}_present" for name in self.names}
        return [name for name, text in texts.items() if text not in self.names | masks]

    def without_columns(self, frame: Any, groups: Mapping[str, Sequence[str]]) -> list[Any]:
        """Return the columns of a data frame that are not left out, by themselves or by their group."""
        gone = {
            c for name, columns in groups.items() if as_name(name) in self.names for c in columns
        }
        kept = set(self.without(dict.fromkeys(frame.columns)))
        self._check()
        return [column for column in frame.columns if column in kept and str(column) not in gone]

    def kept(self, names: Iterable[Any]) -> list[Any]:
        """Return the names of a batch that are not left out; raises ValueError as `_check`."""
        found = self.without(names)
        self._check()
        return found

    def _check(self) -> None:
        """Raise ValueError if the data do not have something, or have nothing else."""
        for name in sorted(self.names - self.known.keys()):
            raise ValueError(
                f"leave_out names {name!r}, which the data do not have{did_you_mean(name, self.known)}: "
                f"choose from {', '.join(self.known)}"
            )
        if self.known and not self.without([*self.known]):
            raise ValueError("leave_out names all that the data have: leave out fewer")
