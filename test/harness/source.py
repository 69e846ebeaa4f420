"""The formula's own Python, as Salt's loader has it: each time anew, with the dunders that Salt puts in."""

import importlib.util
from types import ModuleType

from harness.paths import REPO


def load(path: str, **dunders: object) -> ModuleType:
    """The module at this path of the repository, such as ``_modules/pam_stack.py``."""
    spec = importlib.util.spec_from_file_location(path.removesuffix(".py").replace("/", "."), REPO / path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    vars(module).update(dunders)
    return module
