from fna_mm.backbones.fna_child_net import FNAChildNet
from fna_mm.backbones.fna_supernet import FNASuperNet

__all__ = ['FNAChildNet', 'FNASuperNet']
