"""Makes the modules of this folder importable by name, their assertions explained."""

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))
pytest.register_assert_rewrite("toy_sentences")
