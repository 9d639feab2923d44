"""The checks of the lab: each is a function that raises when something is not as it should be. `check` registers one."""
import dataclasses
from collections.abc import Callable

from cloud import golden


@dataclasses.dataclass
class Check:
    name: str
    title: str
    run: Callable
    pace: int


ALL: dict[str, Check] = {}

# Seconds for each of the two steps of a fake deploy, where a check needs time to disturb it.
SLOW = 4


def check(pace=0):
    """Registers a check under its function's name; the first line of its docstring is its title."""
    def register(function):
        name = function.__name__.replace('_', '-')
        ALL[name] = Check(name, function.__doc__.strip().splitlines()[0], function, pace)
        return function
    return register


def same_as_stock(story, seen, *path, ignoring=()):
    """Raises with every place at which `seen` differs from what stock did in the story."""
    differing = golden.differences(story, seen, *path, ignoring=ignoring)
    if differing:
        shown = [line if len(line) <= 400 else f'{line[:400]} ...' for line in differing[:40]]
        raise AssertionError(f'{len(differing)} differences from stock:\n' + '\n'.join(shown))


def expect(condition, otherwise):
    if not condition:
        raise AssertionError(otherwise)
