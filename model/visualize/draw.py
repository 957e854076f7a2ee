"""Figures as files, without pyplot: no display and no global state, so safe inside training."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from model.visualize.distance_statistics import distance_statistics
from model.visualize.head_view import HeadView
from model.visualize.look import LayerView
from model.visualize.overview import overview
from model.visualize.profiles import profiles
from pipeline.files.atomic import appears_whole

FIGURES: dict[str, Callable[[HeadView], Figure]] = {
    "attention_overview": overview,
    "attention_profiles": profiles,
    "distance_statistics": distance_statistics,
}
DPI = 100


def save_figures(layer: LayerView, folder: Path, about: str = "") -> list[Path]:
    """Write ``layer{L}_{figure}_b{b}_h{h}.png`` for each head.

    Parameters
    ----------
    layer : LayerView
    folder : Path
        Made if need be.
    about : str
        Step and protein, for the titles.

    Returns
    -------
    list of Path
    """
    folder.mkdir(parents=True, exist_ok=True)
    written = []
    for head in layer.heads:
        view = layer.of_head(head, about)
        for name, draw in FIGURES.items():
            path = folder / f"layer{layer.layer}_{name}_b{layer.item}_h{head}.png"
            figure = draw(view)
            with appears_whole(path, folder) as temporary:
                save_png(figure, temporary)
            # A figure refers to itself: without this, its arrays wait for the garbage collector.
            figure.clear()
            written.append(path)
    return written


def save_png(figure: Figure, path: Path) -> None:
    FigureCanvasAgg(figure)
    figure.savefig(path, format="png", dpi=DPI)
