"""`Draw`: the number of an item, and how often an epoch has drawn it before."""

from __future__ import annotations


class Draw(int):
    """A number of an item that a sampler draws once more in the same epoch.

    To any dataset it is the plain number. One that crops at random looks at `repeat`, so that the
    same item is not the same example again.

    Attributes
    ----------
    repeat : int
        How often the item was drawn before.

    Examples
    --------
    >>> Draw(3, 2) == 3, Draw(3, 2).repeat
    (True, 2)
    """

    repeat: int

    def __new__(cls, number: int, repeat: int) -> Draw:
        draw = super().__new__(cls, number)
        draw.repeat = repeat
        return draw

    def __reduce__(self) -> tuple[type[Draw], tuple[int, int]]:
        return Draw, (int(self), self.repeat)

    def __repr__(self) -> str:
        return f"Draw({int(self)}, {self.repeat})"


def repeat_of(number: int) -> int:
    """How often an item was drawn before in this epoch: 0 of a plain number."""
    return number.repeat if isinstance(number, Draw) else 0
