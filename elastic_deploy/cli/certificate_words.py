"""What `up` says of a certificate that can be used, and may still disappoint. Pure."""

from urllib.parse import urlsplit

from elastic_deploy.model.certificate import Certificate
from elastic_deploy.model.duration import format_duration

SOON = 7 * 86400.0
"""Seconds before its end from which on a certificate is spoken of: time enough to have it renewed by a person."""


def expiry_warning(certificate: Certificate | None, now: float) -> str:
    """A sentence where it expires soon, "" otherwise."""
    if certificate is None or certificate.expires_at - now > SOON:
        return ""
    left = format_duration(max(0.0, round(certificate.expires_at - now)))
    return f"Warning: the front door's certificate expires in {left}. Run `up` again with a renewed one before."


def name_warning(certificate: Certificate | None, endpoint: str) -> str:
    """A sentence where clients that ask for the endpoint as it is will refuse the certificate, "" otherwise."""
    host = urlsplit(endpoint).hostname or ""
    if certificate is None or certificate.covers(host):
        return ""
    names = ", ".join(certificate.names)
    if not names:
        return f"Warning: the certificate names no host (subjectAltName): most clients will refuse it for {host}."
    return f"Warning: the certificate is for {names}: clients must ask for such a name, and not for {host}."
