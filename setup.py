"""What pyproject.toml cannot say: the package re_iqa leaves out the commands that need the rest of the project."""

from setuptools import setup
from setuptools.command.build_py import build_py

COMMANDS = {"checkpoints", "export", "onnx_export"}


class PackageAlone(build_py):
    def find_package_modules(self, package: str, package_dir: str) -> list[tuple[str, str, str]]:
        """(package, module, file) of every module to install."""
        return [found for found in super().find_package_modules(package, package_dir) if found[1] not in COMMANDS]


setup(cmdclass={"build_py": PackageAlone})
