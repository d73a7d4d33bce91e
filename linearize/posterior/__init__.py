"""The linearised network given labels: the posterior of Gaussian-process regression with the network's kernel.

``base`` has the contract and what conditioning on an answer does to the mean, ``dense``, ``lazy`` and ``sampled`` the
forms that the covariance takes, ``factor`` the labelled set's kernel.
"""

from linearize.posterior.base import Block, LeaveOneOut, Posterior, Targets
from linearize.posterior.dense import Dense
from linearize.posterior.factor import LabelledFactor, absolute_ridge
from linearize.posterior.lazy import Lazy, LazyKernel
from linearize.posterior.sampled import References, Sampled

__all__ = [
    "Block",
    "Dense",
    "LabelledFactor",
    "Lazy",
    "LazyKernel",
    "LeaveOneOut",
    "Posterior",
    "References",
    "Sampled",
    "Targets",
    "absolute_ridge",
]
