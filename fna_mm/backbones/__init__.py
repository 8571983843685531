from fna_mm.backbones.fna_child_net import FNAChildNet
from fna_mm.backbones.fna_elastic_net import FNAElasticNet
from fna_mm.backbones.fna_supernet import FNASuperNet, find_supernet
from fna_mm.backbones.supernet_parallel import FNADistributedDataParallel

__all__ = ['FNAChildNet', 'FNADistributedDataParallel', 'FNAElasticNet', 'FNASuperNet', 'find_supernet']
