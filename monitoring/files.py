"""Audit logs, certificates and disks of this machine."""

import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path

import msgspec
from cryptography import x509
from prometheus_client.core import GaugeMetricFamily, Metric

from access.audit import verify
from access.audit.record import anchor_path
from vedette.errors import InputError
from vedette.settings import AuditSettings, Settings


def audit_logs(settings: Settings) -> list[AuditSettings]:
    """Return the audit logs that are watched: that of `[audit]`, or those of `[monitor] audit_logs`."""
    named, own = settings.monitor.audit_logs, settings.audit
    return [own if path == own.path else msgspec.structs.replace(own, path=path, anchor="") for path in named] or [own]


def look_at_audit(logs: Sequence[AuditSettings]) -> Iterator[Metric]:
    """Verify the chain of every log that exists.

    Raises:
        SettingsError: There is no key.
    """
    intact = GaugeMetricFamily(
        "vedette_audit_intact", "1 if every record of an audit log is in its place and unchanged", labels=["log"]
    )
    records = GaugeMetricFamily("vedette_audit_records", "Good records from the beginning of the log", labels=["log"])
    for log in logs:
        if not Path(log.path).exists():
            if anchor_path(log).exists():  # there has been one
                intact.add_metric([log.path], 0.0)
            continue
        result = verify(log)
        if not result.ok:  # or its last line was half written
            result = verify(log)
        intact.add_metric([log.path], float(result.ok))
        records.add_metric([log.path], result.records)
    yield intact
    yield records


def certificates(settings: Settings) -> dict[str, str]:
    """Return the certificate files of the settings, by the setting that names them."""
    kafka, gateway, hooks = settings.kafka, settings.gateway, settings.webhooks
    named = {
        "kafka.ca_file": kafka.ca_file,
        "kafka.certificate_file": kafka.certificate_file,
        "gateway.certificate": gateway.certificate,
        "gateway.client_ca": gateway.client_ca,
        "webhooks.ca_file": hooks.ca_file,
        "schemas.ca_file": settings.schemas.ca_file,
    }
    return {name: file for name, file in named.items() if file} | {file: file for file in settings.monitor.certificates}


def look_at_certificates(files: dict[str, str]) -> Iterator[Metric]:
    """Read when each certificate ends; of several in a file, the first to end counts.

    Raises:
        InputError: A file is not a PEM file with certificates.
        OSError: A file cannot be read.
    """
    ends = GaugeMetricFamily(
        "vedette_certificate_not_after_timestamp_seconds",
        "When the first certificate of a file ends, seconds since 1970-01-01 UTC",
        labels=["certificate"],
    )
    for name, file in sorted(files.items()):
        try:
            found = x509.load_pem_x509_certificates(Path(file).read_bytes())
        except ValueError as error:
            raise InputError(f"{file} has no certificate in PEM", remedy=f"check {name}") from error
        ends.add_metric([name], min(each.not_valid_after_utc for each in found).timestamp())
    yield ends


def look_at_disks(folders: Sequence[str]) -> Iterator[Metric]:
    """Read the free space of the file systems of these folders; one that does not exist yet is left out."""
    free = GaugeMetricFamily("vedette_disk_free_bytes", "Free space of a folder's file system", labels=["folder"])
    size = GaugeMetricFamily("vedette_disk_size_bytes", "Size of a folder's file system", labels=["folder"])
    for folder in folders:
        if Path(folder).exists():
            usage = shutil.disk_usage(folder)
            free.add_metric([folder], usage.free)
            size.add_metric([folder], usage.total)
    yield free
    yield size
