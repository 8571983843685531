# The paper's own architecture, found on another data set.
_base_ = './mobilenet_v2.py'

model = dict(backbone=dict(arch='fna_ssdlite'))
