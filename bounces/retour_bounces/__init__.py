"""Reads returned mail: bytes in, `Report` out; pure, without input or output, usable alone as a library."""

from retour_bounces.report import Original, RecipientReport, Report

__all__ = ["Original", "RecipientReport", "Report"]
