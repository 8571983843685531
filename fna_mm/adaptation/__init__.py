"""Measured adaptation: from a trained model and a budget to a child that keeps what the model knows."""

from fna_mm.adaptation.candidates import Limits
from fna_mm.adaptation.flow import AdaptedChild, AdaptOptions, adapt, prepare_search

__all__ = ['AdaptOptions', 'AdaptedChild', 'Limits', 'adapt', 'prepare_search']
