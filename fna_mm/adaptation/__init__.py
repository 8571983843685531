"""Measured adaptation: from a trained model and a budget to a child that keeps what the model knows."""

from fna_mm.adaptation.candidates import Limits
from fna_mm.adaptation.flow import adapt, prepare_search
from fna_mm.adaptation.options import AdaptedChild, AdaptOptions, needs_growing
from fna_mm.adaptation.rehearsal import Growing

__all__ = ['AdaptOptions', 'AdaptedChild', 'Growing', 'Limits', 'adapt', 'needs_growing', 'prepare_search']
