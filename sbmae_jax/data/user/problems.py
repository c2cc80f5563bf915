"""All that is wrong with a user's data, told at once."""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager

from sbmae_jax.data.user.checks import all_problems, check_rows
from sbmae_jax.data.user.kinds import infer_kinds
from sbmae_jax.data.user.profile import profile
from sbmae_jax.data.user.tables import Table


@contextmanager
def told_together(
    table: Table, names: Sequence[str], kinds: Mapping[str, str], partial_rows: str
) -> Iterator[None]:
    """Let a refusal of some modalities tell what is wrong with all of them, if it is more than one thing.

    Args:
        table: The user's arrays.
        names: The modalities that are opened.
        kinds: Kinds that the user sets.
        partial_rows: What to do with rows that have NaN in part.
    """
    try:
        yield
    except ValueError as error:
        problems = _find_problems(table, names, kinds, partial_rows)
        others = set(table.all_names) - set(names)
        message = all_problems(str(table.path), problems, others, set(names) - set(problems))
        raise (ValueError(message) if message else error) from None


def _find_problems(
    table: Table, names: Sequence[str], kinds: Mapping[str, str], partial_rows: str
) -> dict[str, str]:
    """Return why each of some modalities would be refused if it were the only one."""
    problems, sizes = {}, {}
    for name in names:
        try:
            alone = table.only([name])
            infer_kinds(
                alone, profile(alone, partial_rows), {n: k for n, k in kinds.items() if n == name}
            )
            sizes[name] = alone.num_rows
        except ValueError as error:
            problems[name] = str(error)
    usual = Counter(sizes.values()).most_common(1)
    for name, size in sizes.items():
        if size != usual[0][0]:
            other = next(n for n, s in sizes.items() if s == usual[0][0])
            try:
                check_rows(table.path, {other: usual[0][0], name: size})
            except ValueError as error:
                problems[name] = str(error)
    return problems
