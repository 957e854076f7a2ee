"""SVG as text: elements, and axes that all charts share."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from markupsafe import Markup, escape

Number = float | int


def element(name: str, *content: str, **attributes: object) -> str:
    """An element. Content is markup already; attributes are escaped here.

    ``class_`` stands for ``class``, an underscore for a dash; numbers are cut to two decimals,
    attributes that are None are left out.
    """
    words = [name]
    for key, value in attributes.items():
        if value is not None:
            if isinstance(value, float):
                value = coordinate(value)
            elif not isinstance(value, int):
                value = escape(str(value))
            words.append(f'{key.rstrip("_").replace("_", "-")}="{value}"')
    inside = "".join(content)
    return f"<{' '.join(words)}>{inside}</{name}>" if inside else f"<{' '.join(words)}/>"


def text(x: float, y: float, words: object, **attributes: object) -> str:
    """A label."""
    return element("text", str(escape(words)), x=float(x), y=float(y), **attributes)


def tip(words: str) -> str:
    """What a mark says when it is pointed at."""
    return element("title", str(escape(words)))


def coordinate(value: float) -> str:
    """At most two decimals."""
    return f"{value:.2f}".rstrip("0").rstrip(".") if value == value else "0"


def picture(
    width: float, height: float, label: str, parts: Iterable[str], kind: str = ""
) -> Markup:
    """The whole drawing; it fills the width it is given.

    Parameters
    ----------
    label : str
        What it shows, for who cannot see it.
    kind : str
        A further class.
    """
    drawing = element(
        "svg",
        *parts,
        class_=f"chart {kind}".strip(),
        viewBox=f"0 0 {coordinate(width)} {coordinate(height)}",
        role="img",
        aria_label=label,
    )
    return Markup(drawing)


class Frame:
    """A plotting area with a linear horizontal and vertical axis.

    Parameters
    ----------
    width, height : float
        Of the whole drawing.
    x, y : (low, high)
        Ranges of the data.
    margins : (top, right, bottom, left)
    """

    def __init__(
        self,
        width: float,
        height: float,
        x: tuple[float, float],
        y: tuple[float, float],
        margins: tuple[float, float, float, float] = (14, 12, 40, 46),
    ):
        top, right, bottom, left = margins
        self.width, self.height = width, height
        self.left, self.right = left, width - right
        self.top, self.bottom = top, height - bottom
        self._x, self._y = x, y

    def x(self, value: float) -> float:
        low, high = self._x
        return self.left + (value - low) / (high - low) * (self.right - self.left)

    def y(self, value: float) -> float:
        low, high = self._y
        return self.bottom - (value - low) / (high - low) * (self.bottom - self.top)

    def bar(self, x0: float, x1: float, value: float, words: str, class_: str = "bar") -> str:
        """A column from the base line; nothing if it is empty."""
        if value <= 0:
            return ""
        left, right = self.x(x0), self.x(x1)
        gap = min(1.0, 0.12 * (right - left))
        top = min(self.y(value), self.bottom - 0.75)  # one chain in a million is still there
        return element(
            "rect",
            tip(words),
            class_=f"mark {class_}",
            x=left + gap / 2,
            y=top,
            width=max(0.4, right - left - gap),
            height=self.bottom - top,
        )

    def y_axis(self, ticks: Sequence[tuple[float, str]], title: str = "") -> str:
        """Horizontal grid lines with labels, and the axis's name above them."""
        parts = []
        for value, label in ticks:
            y = self.y(value)
            parts.append(element("line", class_="grid", x1=self.left, x2=self.right, y1=y, y2=y))
            parts.append(text(self.left - 6, y + 3.5, label, class_="tick end"))
        if title:
            parts.append(text(0, 9, title, class_="axis"))
        return "".join(parts)

    def x_axis(self, ticks: Sequence[tuple[float, str]], title: str = "") -> str:
        """The base line with ticks and labels, and the axis's name below them."""
        parts = [
            element(
                "line",
                class_="base",
                x1=self.left,
                x2=self.right,
                y1=self.bottom,
                y2=self.bottom,
            )
        ]
        for value, label in ticks:
            x = self.x(value)
            parts.append(
                element("line", class_="base", x1=x, x2=x, y1=self.bottom, y2=self.bottom + 4)
            )
            parts.append(text(x, self.bottom + 16, label, class_="tick middle"))
        if title:
            middle = (self.left + self.right) / 2
            parts.append(text(middle, self.height - 6, title, class_="axis middle"))
        return "".join(parts)
