"""The formula's own Python, as Salt's loader has it: each time anew, with the dunders that Salt puts in."""

import importlib.util
import inspect
import sys
from types import ModuleType, SimpleNamespace

from harness.paths import REPO

# As while Salt's loader executes a face, so that a test imports the library like a face.
sys.path.append(str(REPO / "_modules"))


def load(path: str, **dunders: object) -> ModuleType:
    """The module at this path of the repository, such as ``_modules/pam_stack.py``."""
    spec = importlib.util.spec_from_file_location(path.removesuffix(".py").replace("/", "."), REPO / path)
    module = importlib.util.module_from_spec(spec)
    # While it is executed, it finds the library beside it, as in Salt's loader.
    sys.path.append(str((REPO / path).parent))
    try:
        spec.loader.exec_module(module)
    finally:
        sys.path.pop()
    vars(module).update(dunders)
    return module


class Modules:
    """Execution modules with one another in their ``__salt__`` and nothing else."""

    def __init__(self, *names: str) -> None:
        self.salt = {}
        self.files = {name: load(f"_modules/{name}.py", __salt__=self.salt) for name in names}
        for name, module in self.files.items():
            for word, function in inspect.getmembers(module, inspect.isfunction):
                if not word.startswith("_"):
                    self.salt[f"{name}.{word}"] = function

    def __getitem__(self, name: str) -> SimpleNamespace:
        """The public functions of a module."""
        found = (key.rpartition(".") for key in self.salt)
        return SimpleNamespace(**{word: self.salt[f"{name}.{word}"] for module, _, word in found if module == name})
