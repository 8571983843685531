"""What an editable install puts where mim looks for this package's configs.

mim looks into ``site-packages/fna_mm/.mim``, also when the package itself stays in its source tree. A copy of the
configs there would grow old unseen, so each file is one line instead: its base is the config in the tree.
"""

import tempfile
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface


class ForwardedConfigs(BuildHookInterface):
    """Replaces the configs of an editable wheel; any other wheel is left alone."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Write the files, and have them included."""
        if version != 'editable':
            return
        root = Path(self.root)
        self.folder = tempfile.TemporaryDirectory()
        for path in (root / 'configs').rglob('*.py'):
            forward = Path(self.folder.name, path.relative_to(root))
            forward.parent.mkdir(parents=True, exist_ok=True)
            forward.write_text(f'_base_ = {str(path)!r}\n', encoding='utf-8')
        index = [root / 'model-index.yml', *(root / 'configs').rglob('metafile.yml')]
        build_data['force_include_editable'] = {
            f'{self.folder.name}/configs': 'fna_mm/.mim/configs',
            **{str(path): f'fna_mm/.mim/{path.relative_to(root).as_posix()}' for path in index}}

    def finalize(self, version: str, build_data: dict[str, Any], artifact_path: str) -> None:
        """Remove what was written."""
        if version == 'editable':
            self.folder.cleanup()
