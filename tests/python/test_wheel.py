"""What is published as a wheel works where nothing else is installed."""

from __future__ import annotations

import subprocess
import sys
import sysconfig
import zipfile
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from harness.redis_server import RedisServer

ROOT = Path(__file__).parents[2]
PROGRAM = """
import sys
import synapse_rs
with synapse_rs.Publisher(sys.argv[1], source="clean") as publisher:
    publisher.publish_inference(model_name="m", version="1", latency_ms=1.0)
    publisher.flush(timeout=5)
print(synapse_rs.__file__)
"""


@pytest.fixture(scope="session")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel, built as `make wheel` builds it but without optimisation, which takes minutes."""
    folder = tmp_path_factory.mktemp("wheel")
    maturin = str(Path(sys.executable).parent / "maturin")
    options = ["--locked", "--quiet", "--interpreter", sys.executable, "--out", str(folder)]
    subprocess.run([maturin, "build", *options], cwd=ROOT, check=True)
    (wheel,) = folder.glob("*.whl")
    return wheel


def test_the_wheel_is_abi3_typed_and_needs_nothing(wheel: Path) -> None:
    # Without the GIL there is no abi3 before CPython 3.15.
    is_abi3 = not sysconfig.get_config_var("Py_GIL_DISABLED")
    assert ("-cp311-abi3-" in wheel.name) == is_abi3
    with zipfile.ZipFile(wheel) as archive:
        names = set(archive.namelist())
        assert {"synapse_rs/__init__.py", "synapse_rs/_core.pyi", "synapse_rs/py.typed"} <= names
        assert ("synapse_rs/_core.abi3.so" in names) == is_abi3
        (metadata,) = (archive.read(name).decode() for name in names if name.endswith(".dist-info/METADATA"))
    assert "Requires-Dist" not in metadata
    assert "Requires-Python: >=3.11" in metadata


@pytest.mark.timeout(300)
def test_a_clean_environment_installs_it_and_publishes(wheel: Path, redis_server: RedisServer, tmp_path: Path) -> None:
    clean = tmp_path / "clean"
    python = clean / "bin" / "python"
    subprocess.run([sys.executable, "-m", "venv", clean], check=True)
    subprocess.run([python, "-m", "pip", "install", "--quiet", "--no-index", wheel], check=True)
    ran = subprocess.run(
        [python, "-I", "-c", PROGRAM, redis_server.url], check=True, capture_output=True, text=True, cwd=tmp_path
    )
    assert ran.stdout.startswith(str(clean))
    ((_, fields),) = redis_server.entries("inference-events")
    assert (fields["source"], fields["model_name"], fields["latency_ms"]) == ("clean", "m", "1.0")
