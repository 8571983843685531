from fna_mm.heads.aspp_heads import DeepLabV3PlusHead, SeparableASPPHead

__all__ = ['DeepLabV3PlusHead', 'SeparableASPPHead']
