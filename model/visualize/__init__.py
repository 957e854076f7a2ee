"""Watching attention: numbers and figures of what each layer looks at."""

from pipeline.extras import explained

try:
    from model.visualize.draw import FIGURES, save_figures
    from model.visualize.head_view import HeadView
    from model.visualize.look import LayerView, look
    from model.visualize.statistics import (
        NEAR,
        AttentionStatistics,
        console_line,
        mean_of,
        statistics_of,
    )
except ModuleNotFoundError as error:
    raise explained(error, "model.visualize") or error from None

__all__ = [
    "FIGURES",
    "NEAR",
    "AttentionStatistics",
    "HeadView",
    "LayerView",
    "console_line",
    "look",
    "mean_of",
    "save_figures",
    "statistics_of",
]
