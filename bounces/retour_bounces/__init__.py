"""Reads returned mail: bytes in, `Report` out; pure, without input or output, usable alone as a library."""

from retour_bounces.classify.reply import judge
from retour_bounces.classify.rules import RuleError, Rules
from retour_bounces.classify.verdict import Verdict
from retour_bounces.read import read
from retour_bounces.report import Original, RecipientReport, Report

__all__ = ["Original", "RecipientReport", "Report", "RuleError", "Rules", "Verdict", "judge", "read"]
