"""The CEL library, which says what a rule means: it compiles each rule at load and answers for it in proofs."""

from collections.abc import Sequence
from typing import Final

import cel

from tidegate.policy.variables import Inputs, value

_FAILS: Final = (TypeError, ValueError, RuntimeError, ArithmeticError)
"""What the library raises where a rule has no value."""


class Oracle:
    """Rules as the library runs them, against one Context a payment that holds only the variables used."""

    def __init__(self, expressions: Sequence[str]) -> None:
        """Compile the rules.

        Raises:
            ValueError: one isn't CEL.
        """
        self._programs = [cel.compile(expression) for expression in expressions]
        self._names = sorted({name for program in self._programs for name in program.variables()})

    def run(self, inputs: Inputs) -> list[bool | None]:
        """Return what each rule says of a payment; None where it fails."""
        context = cel.Context({name: value(inputs, name) for name in self._names})
        return [_said(program, context) for program in self._programs]


def _said(program: cel.Program, context: cel.Context) -> bool | None:
    try:
        said = program.execute(context)
    except _FAILS:
        return None
    return said if isinstance(said, bool) else None
