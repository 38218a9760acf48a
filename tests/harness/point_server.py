"""Private servers that take points: InfluxDB 1 and VictoriaMetrics."""

from __future__ import annotations

import json
import ssl
import tempfile
import urllib.parse
import urllib.request
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Self

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from harness.process import Process
from harness.service import get
from harness.wait import eventually, free_port

if TYPE_CHECKING:
    import signal
    from types import TracebackType

DATABASE = "analytics"
"""As the analytics service calls its bucket unless told otherwise."""

Points = list[tuple[int, float]]
"""Times and values of one field."""

CONFIG = """
reporting-enabled = false
bind-address = "127.0.0.1:0"
[meta]
dir = "{folder}/meta"
[data]
dir = "{folder}/data"
wal-dir = "{folder}/wal"
query-log-enabled = false
[monitor]
store-enabled = false
[http]
bind-address = "127.0.0.1:{port}"
log-enabled = false
"""


class PointServer:
    """A server on a free loopback port with data of its own, until it is closed."""

    program: ClassVar[str]

    def __init__(self) -> None:
        """Starts one."""
        self.port = free_port()
        self.tls: ssl.SSLContext | None = None
        """How those who ask it over https know it."""
        self._directory = tempfile.TemporaryDirectory(prefix="synapse-points-")
        self._process: Process | None = None
        self.start()

    @property
    def url(self) -> str:
        """Its address."""
        return f"http://127.0.0.1:{self.port}"

    @property
    def folder(self) -> Path:
        """Where its data are."""
        return Path(self._directory.name)

    @property
    def pid(self) -> int:
        """Its process id."""
        assert self._process is not None
        return self._process.pid

    def start(self) -> None:
        """Starts it on the same port and data as before, and waits until it answers."""
        self._process = Process([self.program, *self.arguments()], cwd=self.folder)
        eventually(f"{self.program} to answer", self.answers)

    def answers(self) -> bool:
        """Whether it does."""
        return get(f"{self.url}/ping")[0] == 204

    def stop(self, how: signal.Signals | None = None) -> None:
        """Ends it, by SIGTERM if nothing else is said; its data stay."""
        if self._process is not None:
            self._process.stop(how) if how else self._process.stop()
            self._process = None

    def arguments(self) -> list[str]:
        """What it is started with."""
        raise NotImplementedError

    def points(self, measurement: str, field: str) -> Points:
        """All points of a field: times in nanoseconds, or as exact as it has them, and values."""
        raise NotImplementedError

    def tokens(self) -> list[float]:
        """The tokens of each inference, sorted: tests number their events by them."""
        return sorted(value for _, value in self.points("inference_metrics", "tokens_used"))

    def write(self, lines: str) -> None:
        """Writes lines as somebody else would."""
        request = urllib.request.Request(f"{self.url}/write?db={DATABASE}&precision=ns", lines.encode())
        with urllib.request.urlopen(request, timeout=20, context=self.tls) as answer:
            assert answer.status == 204

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._process is not None:
            self._process.kill()
        self._directory.cleanup()


class InfluxDb(PointServer):
    """InfluxDB 1; `make influxdb` installs it."""

    program = "influxd"

    def arguments(self) -> list[str]:
        """A file of settings."""
        path = self.folder / "influxdb.conf"
        path.write_text(CONFIG.format(folder=self.folder, port=self.port))
        return ["-config", str(path)]

    def ask(self, question: str) -> list[dict[str, Any]]:
        """The series with which it answers a statement of InfluxQL."""
        parameters = urllib.parse.urlencode({"db": DATABASE, "epoch": "ns", "q": question})
        address = f"{self.url}/query"
        with urllib.request.urlopen(address, parameters.encode(), timeout=60, context=self.tls) as answer:
            (result,) = json.loads(answer.read())["results"]
        assert "error" not in result, result
        series: list[dict[str, Any]] = result.get("series", [])
        return series

    def points(self, measurement: str, field: str) -> Points:
        """All points of a field."""
        found = self.ask(f'SELECT "{field}" FROM "{measurement}"')
        return [(time, value) for series in found for time, value in series["values"]]


class EncryptedInfluxDb(InfluxDb):
    """InfluxDB 1 behind TLS, with a certificate that it has signed itself."""

    @property
    def url(self) -> str:
        """Its address."""
        return f"https://localhost:{self.port}"

    @property
    def certificate(self) -> Path:
        """For those who are to trust it."""
        return self.folder / "certificate.pem"

    def arguments(self) -> list[str]:
        """A certificate, and settings that name it."""
        key = self.folder / "key.pem"
        write_certificate(self.certificate, key)
        self.tls = ssl.create_default_context(cafile=str(self.certificate))
        encrypted = f'https-enabled = true\nhttps-certificate = "{self.certificate}"\nhttps-private-key = "{key}"\n'
        arguments = super().arguments()
        with Path(arguments[-1]).open("a") as file:
            file.write(encrypted)
        return arguments

    def answers(self) -> bool:
        """Whether it does."""
        try:
            with urllib.request.urlopen(f"{self.url}/ping", timeout=5, context=self.tls) as answer:
                return bool(answer.status == 204)
        except OSError:
            return False


def write_certificate(certificate: Path, key: Path) -> None:
    """Makes a certificate for localhost, signed by itself."""
    made = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "a test of Synapse")])
    now = datetime.now(UTC)
    builder = x509.CertificateBuilder(name, name, made.public_key(), x509.random_serial_number())
    builder = builder.not_valid_before(now - timedelta(days=1)).not_valid_after(now + timedelta(days=30))
    builder = builder.add_extension(x509.SubjectAlternativeName([x509.DNSName("localhost")]), critical=False)
    signed = builder.sign(made, hashes.SHA256())
    certificate.write_bytes(signed.public_bytes(serialization.Encoding.PEM))
    form = (serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    key.write_bytes(made.private_bytes(*form))


class VictoriaMetrics(PointServer):
    """VictoriaMetrics; `make victoria-metrics` installs it. Its clock has milliseconds."""

    program = "victoria-metrics"

    def arguments(self) -> list[str]:
        """Points are kept whatever their time, and one that comes again is the same one."""
        where = [f"-httpListenAddr=127.0.0.1:{self.port}", f"-storageDataPath={self.folder / 'data'}"]
        return [*where, "-retentionPeriod=100y", "-dedup.minScrapeInterval=1ms", "-memory.allowedBytes=512MB"]

    def points(self, measurement: str, field: str) -> Points:
        """All points of a field of each series, the series one after the other."""
        get(f"{self.url}/internal/force_flush")
        status, text = get(f"{self.url}/api/v1/export?match[]={measurement}_{field}")
        assert status == 200, text
        found = [json.loads(line) for line in text.splitlines()]
        return [
            (time * 1_000_000, value)
            for series in found
            for time, value in zip(series["timestamps"], series["values"], strict=True)
        ]
