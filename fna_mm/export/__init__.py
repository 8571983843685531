"""A trained model as a file that runs without mm."""

from fna_mm.export.onnx_file import ExportedFile, export_onnx

__all__ = ['ExportedFile', 'export_onnx']
