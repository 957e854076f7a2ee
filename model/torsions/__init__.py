"""Side chains as distributions over torsions."""

from model.torsions.angles import chi_angles, free_chi, periodic_chi
from model.torsions.bins import N_BINS, smoothed
from model.torsions.distribution import ChiDistribution, ChiHead, independent
from model.torsions.rotamers import N_ROTAMERS, Rotamers, build, library_rotamers

__all__ = [
    "N_BINS",
    "N_ROTAMERS",
    "ChiDistribution",
    "ChiHead",
    "Rotamers",
    "build",
    "chi_angles",
    "free_chi",
    "independent",
    "library_rotamers",
    "periodic_chi",
    "smoothed",
]
