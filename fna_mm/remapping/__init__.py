from fna_mm.remapping.initializer import ParameterRemapping, ParameterRemappingHook

__all__ = ['ParameterRemapping', 'ParameterRemappingHook']
