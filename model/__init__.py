"""The flow model over Gaussian ellipsoids: attention, flow, network, training and sampling."""
