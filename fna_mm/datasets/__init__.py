from fna_mm.datasets.random_split import RandomSplit

__all__ = ['RandomSplit']
