"""Brings the dashboard's browser libraries in before a build. All else about the package stands in pyproject.toml.

They come from npm (see web/vendor.mjs) and are not kept in git. A build without them makes a package that works, but
for the page of `trimtab dashboard`; it says so.
"""

import shutil
import subprocess
import sys
from pathlib import Path

from setuptools import setup
from setuptools.command.build_py import build_py
from setuptools.command.sdist import sdist

ROOT = Path(__file__).parent
VENDOR = ROOT / "src" / "trimtab" / "dashboard" / "static" / "vendor"
LAST_WRITTEN = VENDOR / "LICENSES.txt"  # by web/vendor.mjs
ABSENT = "warning: the dashboard's page is left out of this build: {}. Bring it in with 'make web', then build again."


def bring_libraries() -> None:
    """Runs the npm build where the libraries are missing."""
    web = ROOT / "web"
    if LAST_WRITTEN.exists():
        return
    npm = shutil.which("npm")
    if npm is None or not web.is_dir():
        print(ABSENT.format("npm was not found" if web.is_dir() else "the folder web/ is not here"), file=sys.stderr)  # noqa: T201
        return
    try:
        subprocess.run([npm, "ci", "--silent"], cwd=web, check=True)
        subprocess.run([npm, "run", "--silent", "build"], cwd=web, check=True)
    except (OSError, subprocess.CalledProcessError) as error:
        print(ABSENT.format(f"npm failed ({error})"), file=sys.stderr)  # noqa: T201


class BuildPy(build_py):
    """Builds the package with the libraries in it."""

    def run(self) -> None:  # noqa: D102 (a hook of setuptools)
        bring_libraries()
        # The files of the package are listed when they are first asked for, which may have been before.
        self.__dict__.pop("data_files", None)
        super().run()


class Sdist(sdist):
    """Archives the sources with the libraries among them, so that whoever builds from it needs no npm."""

    def run(self) -> None:  # noqa: D102 (a hook of setuptools)
        bring_libraries()
        super().run()


setup(cmdclass={"build_py": BuildPy, "sdist": Sdist})
