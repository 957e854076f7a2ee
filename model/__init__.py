"""The flow model over Gaussian ellipsoids: attention, flow, network, training and sampling."""

from importlib.util import find_spec
from pathlib import Path


def _check_whose_pipeline() -> None:
    """A file or folder of somebody's own may have the name of the package that this one needs."""
    ours = Path(__file__).resolve().parents[1] / "pipeline" / "__init__.py"
    found = find_spec("pipeline")
    origin = None if found is None else found.origin
    if origin is None or Path(origin).resolve() != ours:
        # With this name, `python -m model.…` tells the sentence without a traceback.
        raise ImportError(
            f"{origin or 'a folder'} hides the package `pipeline` of ellipsoid-flow: rename it, "
            "start elsewhere, or use the command ellipsoid-flow, which does not look there",
            name="model",
        )


_check_whose_pipeline()

from pipeline.extras import check_installed  # noqa: E402 - only now it is known to be ours

check_installed("the package `model`", "train", "torch", "roma")
