"""``python -m model.evaluate``: how well a trained network does on chains it has not seen."""
