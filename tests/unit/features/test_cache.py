"""Machine code kept on disk is never older than its meaning: numba sees a change only in the file a function is in."""

import inspect
from collections.abc import Iterator
from types import ModuleType

import pytest
from numba.core.registry import CPUDispatcher

import actors.gate.answers
import tidegate.features.kernel
import tidegate.trees
import training.dataset
from tidegate.features.declarations import FINGERPRINT


def borrowed(module: ModuleType) -> Iterator[str]:
    """Yield the compiled functions of other files that a module's own compiled functions have in them."""
    names = vars(module)
    for function in [value for value in names.values() if isinstance(value, CPUDispatcher)]:
        if function.py_func.__module__ == module.__name__:
            called = {name: names.get(name) for name in function.py_func.__code__.co_names}
            yield from (
                name
                for name, value in called.items()
                if isinstance(value, CPUDispatcher) and value.py_func.__module__ != module.__name__
            )


@pytest.mark.parametrize(
    "module",
    [
        tidegate.features.kernel,
        tidegate.trees,
        actors.gate.answers,
        training.dataset,
    ],
    ids=lambda module: module.__name__,
)
def test_no_compiled_function_has_one_of_another_file_in_it(module: ModuleType) -> None:
    assert list(borrowed(module)) == []


def test_the_kernels_own_file_names_the_declarations_it_is_compiled_for() -> None:
    assert FINGERPRINT in inspect.getsource(tidegate.features.kernel)
